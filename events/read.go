package events

import (
	"bytes"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A reader turns a payload's text into a generated struct in one pass. Beside
// what a scanner demands it holds every member to its contract: required ones are
// there, none is null or of another kind, none is written in another case.
// Members that the contract does not name are skipped: newer writers may add them.
//
// After the first refusal nothing more is read; every object and list on the way
// out adds where it was to the error.
type reader struct {
	scanner
	whole string // the text once more: strings are parts of it, so that they cost nothing
	depth int    // of the value that is next
	err   error
}

var readers = sync.Pool{New: func() any { return &reader{scanner: scanner{keys: make([]span, 0, manyKeys)}} }}

// read reads a payload without validating it.
func read(b []byte, p payload) error {
	if !utf8.Valid(b) {
		return malformed("invalid UTF-8")
	}
	r := readers.Get().(*reader)
	*r = reader{scanner: scanner{b: b, keys: r.keys[:0]}, whole: string(b)}
	p.read(r)
	if r.next(); r.err == nil && r.i != len(b) {
		r.err = malformed("bytes follow the JSON value at byte %d", r.i)
	}
	err := r.err
	*r = reader{scanner: scanner{keys: r.keys[:0]}} // keeps nobody's text alive
	readers.Put(r)
	return err
}

// fields are the members that a contract names, in its order. There are at most
// 64; the generator sees to it.
type fields struct {
	names    []string
	required uint64 // bit i: there must be the i-th
}

// object is an object that is being read.
type object struct {
	fields *fields
	seen   uint64 // bit i: there was the i-th member
	at     int    // the member whose value is being read, or -1
	guess  int    // members mostly come in the contract's order
	begun  bool
	others members // that the contract does not name
}

// open reads the brace of an object.
func (r *reader) open(f *fields) object {
	r.enter('{', "an object")
	return object{fields: f, at: -1, others: newMembers(&r.scanner)}
}

// enter reads the bracket or brace that something begins with.
func (r *reader) enter(c byte, want string) bool {
	switch {
	case r.depth > maxNesting:
		r.err = malformed("nested deeper than %d", maxNesting)
	case r.next() != c:
		r.err = r.unexpected(want)
	default:
		r.i++
		r.depth++
		return true
	}
	return false
}

// leave reads the bracket or brace that something ends with.
func (r *reader) leave(c byte) {
	r.depth--
	r.err = r.expect(c)
}

// member reads up to the value of the next member that the contract names and
// reports its number; -1 after the last and at a refusal.
func (r *reader) member(o *object) int {
	if r.err != nil {
		if o.at >= 0 {
			r.err = fmt.Errorf("%s: %w", o.fields.names[o.at], r.err)
		}
		return -1
	}
	for {
		o.at = -1
		switch c := r.next(); {
		case o.begun && c == ',':
			r.i++
		case o.begun, c == '}':
			r.close(o)
			return -1
		}
		o.begun = true
		key, err := r.key()
		if err == nil {
			err = r.find(o, key)
		}
		if err == nil {
			err = r.expect(':')
		}
		if err == nil && o.at < 0 {
			_, err = r.value(r.depth)
		}
		if err != nil {
			r.err, o.at = err, -1
			return -1
		}
		if o.at >= 0 {
			return o.at
		}
	}
}

func (r *reader) close(o *object) {
	o.others.close()
	r.leave('}')
	if missing := o.fields.required &^ o.seen; missing != 0 && r.err == nil {
		r.err = malformed("%s is required", o.fields.names[bits.TrailingZeros64(missing)])
	}
}

// find sets which member a key names, if any. A key that differs from a member in
// case only is refused: encoding/json, and so other readers, would take it for
// the member.
func (r *reader) find(o *object, key span) error {
	name, names := r.part(key), o.fields.names
	if o.guess < len(names) && names[o.guess] == name {
		o.at = o.guess
	} else {
		for i := range names {
			if names[i] == name {
				o.at = i
				break
			}
		}
	}
	if o.at >= 0 {
		if o.seen&(1<<o.at) != 0 {
			return repeated(name)
		}
		o.seen |= 1 << o.at
		o.guess = o.at + 1
		return nil
	}
	if o.others.repeats(key) {
		return repeated(name)
	}
	for i := range names {
		if strings.EqualFold(name, names[i]) {
			return malformed("%q differs from %q in case", clip(name), names[i])
		}
	}
	return nil
}

// part is a string of the text.
func (r *reader) part(p span) string {
	if p.escaped {
		return unescape(r.raw(p))
	}
	return r.whole[p.from:p.to]
}

// The functions below read one value each. They are called only where there was
// no refusal before.

func readString(v *string, r *reader) {
	if p, ok := r.quoted(); ok {
		*v = r.part(p)
	}
}

func (r *reader) quoted() (p span, ok bool) {
	if r.next() != '"' {
		r.err = r.unexpected("a string")
		return p, false
	}
	p, r.err = r.string()
	return p, r.err == nil
}

// readTime reads RFC 3339 as encoding/json does: nothing is escaped in it.
func readTime(v *time.Time, r *reader) {
	if p, ok := r.quoted(); ok && v.UnmarshalText(r.raw(p)) != nil {
		r.err = malformed("%q at byte %d is not a time as RFC 3339 writes it", clip(string(r.raw(p))), p.from)
	}
}

func readDuration(v *Duration, r *reader) {
	if p, ok := r.quoted(); ok {
		d, err := time.ParseDuration(r.part(p))
		if *v = Duration(d); err != nil {
			r.err = malformed("%q at byte %d is not a duration such as 1h30m", clip(r.part(p)), p.from)
		}
	}
}

// numeral reads a number's text.
func (r *reader) numeral(want string) (p span, ok bool) {
	if c := r.next(); c != '-' && (c < '0' || c > '9') {
		r.err = r.unexpected(want)
		return p, false
	}
	p.from = r.i
	r.err = r.number()
	p.to = r.i
	return p, r.err == nil
}

func readInteger(v *int64, r *reader) {
	p, ok := r.numeral("an integer")
	if !ok {
		return
	}
	text := r.part(p)
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil:
		*v = n
	case bytes.ContainsAny(r.raw(p), ".eE"):
		r.err = malformed("%s at byte %d is not an integer", clip(text), p.from)
	default:
		r.err = malformed("%s at byte %d is not an integer of 64 bits", clip(text), p.from)
	}
}

func readNumber(v *float64, r *reader) {
	p, ok := r.numeral("a number")
	if !ok {
		return
	}
	n, err := strconv.ParseFloat(r.part(p), 64)
	if err != nil {
		r.err = malformed("%s at byte %d is beyond the numbers of 64 bits", clip(r.part(p)), p.from)
		return
	}
	*v = n
}

func readBoolean(v *bool, r *reader) {
	switch r.next() {
	case 't':
		*v, r.err = true, r.literal("true")
	case 'f':
		*v, r.err = false, r.literal("false")
	default:
		r.err = r.unexpected("true or false")
	}
}

// readAny reads what encoding/json reads into an any.
func readAny(v *any, r *reader) {
	if r.depth > maxNesting {
		r.err = malformed("nested deeper than %d", maxNesting)
		return
	}
	switch c := r.next(); {
	case c == '{':
		*v = readValue(r, func(v *map[string]any, r *reader) { readMap(v, r, readAny) })
	case c == '[':
		*v = readValue(r, func(v *[]any, r *reader) { readList(v, r, readAny) })
	case c == '"':
		*v = readValue(r, readString)
	case c == 't' || c == 'f':
		*v = readValue(r, readBoolean)
	case c == 'n':
		*v, r.err = nil, r.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		*v = readValue(r, readNumber)
	default:
		r.err = r.unexpected("a value")
	}
}

func readValue[T any](r *reader, read func(*T, *reader)) any {
	var v T
	read(&v, r)
	return v
}

// readPointer reads a value whose absence its struct can tell from zero.
func readPointer[T any](v **T, r *reader, read func(*T, *reader)) {
	*v = new(T)
	read(*v, r)
}

func readList[T any](v *[]T, r *reader, item func(*T, *reader)) {
	if !r.enter('[', "an array") {
		return
	}
	list := []T{}
	for r.next() != ']' || len(list) > 0 {
		if cap(list) == 0 {
			list = make([]T, 0, 4)
		}
		var zero T
		list = append(list, zero)
		if item(&list[len(list)-1], r); r.err != nil {
			r.err = fmt.Errorf("[%d]: %w", len(list)-1, r.err)
			return
		}
		if r.next() != ',' {
			break
		}
		r.i++
	}
	*v = list
	r.leave(']')
}

func readMap[T any](v *map[string]T, r *reader, value func(*T, *reader)) {
	if !r.enter('{', "an object") {
		return
	}
	found := map[string]T{}
	var x T
	for r.next() != '}' || len(found) > 0 {
		p, err := r.key()
		name := ""
		if err == nil {
			if name = r.part(p); contains(found, name) {
				err = repeated(name)
			} else {
				err = r.expect(':')
			}
		}
		if r.err = err; err != nil {
			return
		}
		var zero T
		x = zero
		if value(&x, r); r.err != nil {
			r.err = fmt.Errorf("%s: %w", clip(name), r.err)
			return
		}
		found[name] = x
		if r.next() != ',' {
			break
		}
		r.i++
	}
	*v = found
	r.leave('}')
}

func contains[T any](m map[string]T, key string) bool {
	_, ok := m[key]
	return ok
}

package strictjson

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

// A Reader turns a payload's text into a generated struct in one pass. Beside
// what a Scanner demands it holds every member to its contract: required ones are
// there, none is null or of another kind, none is written in another case.
// Members that the contract does not name are skipped: newer writers may add them.
//
// After the first refusal nothing more is read; every object and list on the way
// out adds where it was to the error.
type Reader struct {
	Scanner
	whole string // the text once more: strings are parts of it, so that they cost nothing
	depth int    // of the value that is next
	err   error
}

var readers = sync.Pool{New: func() any { return &Reader{Scanner: Scanner{keys: make([]Span, 0, manyKeys)}} }}

// Read reads one value, which into takes. It checks the text and nothing of what
// Read value means.
func Read(b []byte, into func(*Reader)) error {
	if !utf8.Valid(b) {
		return malformed("invalid UTF-8")
	}
	r := readers.Get().(*Reader)
	*r = Reader{Scanner: Scanner{b: b, keys: r.keys[:0]}, whole: string(b)}
	into(r)
	if r.Next(); r.err == nil && r.i != len(b) {
		r.err = malformed("bytes follow the JSON value at byte %d", r.i)
	}
	err := r.err
	*r = Reader{Scanner: Scanner{keys: r.keys[:0]}} // keeps nobody's text alive
	readers.Put(r)
	return err
}

// Fields are the members that a contract names, in its order. There are at most
// 64; the generator sees to it.
type Fields struct {
	Names    []string
	Required uint64 // bit i: there must be the i-th
}

// An Object is an object that is being read.
type Object struct {
	fields *Fields
	seen   uint64 // bit i: there was the i-th member
	at     int    // the member whose value is being read, or -1
	guess  int    // members mostly come in the contract's order
	begun  bool
	others Members // that the contract does not name
}

// Open reads the brace of an object.
func (r *Reader) Open(f *Fields) Object {
	r.enter('{', "an object")
	return Object{fields: f, at: -1, others: NewMembers(&r.Scanner)}
}

// enter reads the bracket or brace that something begins with.
func (r *Reader) enter(c byte, want string) bool {
	switch {
	case r.depth > maxNesting:
		r.err = malformed("nested deeper than %d", maxNesting)
	case r.Next() != c:
		r.err = r.unexpected(want)
	default:
		r.i++
		r.depth++
		return true
	}
	return false
}

// leave reads the bracket or brace that something ends with.
func (r *Reader) leave(c byte) {
	r.depth--
	r.err = r.Expect(c)
}

// Member reads up to the value of the next member that the contract names and
// reports its number; -1 after the last and at a refusal.
func (r *Reader) Member(o *Object) int {
	if r.err != nil {
		if o.at >= 0 {
			r.err = fmt.Errorf("%s: %w", o.fields.Names[o.at], r.err)
		}
		return -1
	}
	for {
		o.at = -1
		switch c := r.Next(); {
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
			err = r.Expect(':')
		}
		if err == nil && o.at < 0 {
			_, err = r.Value(r.depth)
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

func (r *Reader) close(o *Object) {
	o.others.close()
	r.leave('}')
	if missing := o.fields.Required &^ o.seen; missing != 0 && r.err == nil {
		r.err = malformed("%s is required", o.fields.Names[bits.TrailingZeros64(missing)])
	}
}

// find sets which member a key names, if any. A key that differs from a member in
// case only is refused: encoding/json, and so other readers, would take it for
// the member.
func (r *Reader) find(o *Object, key Span) error {
	name, names := r.part(key), o.fields.Names
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
			return malformed("%q differs from %q in case", Clip(name), names[i])
		}
	}
	return nil
}

// part is a string of the text.
func (r *Reader) part(p Span) string {
	if p.Escaped {
		return Unescape(r.Raw(p))
	}
	return r.whole[p.From:p.To]
}

// The functions below read one value each. They are called only where there was
// no refusal before.

func ReadString(v *string, r *Reader) {
	if p, ok := r.stringSpan(); ok {
		*v = r.part(p)
	}
}

func (r *Reader) stringSpan() (p Span, ok bool) {
	if r.Next() != '"' {
		r.err = r.unexpected("a string")
		return p, false
	}
	p, r.err = r.Quoted()
	return p, r.err == nil
}

// ReadTime reads RFC 3339 as encoding/json does: nothing is escaped in it.
func ReadTime(v *time.Time, r *Reader) {
	if p, ok := r.stringSpan(); ok && v.UnmarshalText(r.Raw(p)) != nil {
		r.err = malformed("%q at byte %d is not a time as RFC 3339 writes it", Clip(string(r.Raw(p))), p.From)
	}
}

// ReadDuration reads a duration as Go writes it.
func ReadDuration[D ~int64](v *D, r *Reader) {
	if p, ok := r.stringSpan(); ok {
		d, err := time.ParseDuration(r.part(p))
		if *v = D(d); err != nil {
			r.err = malformed("%q at byte %d is not a duration such as 1h30m", Clip(r.part(p)), p.From)
		}
	}
}

// numeral reads a number's text.
func (r *Reader) numeral(want string) (p Span, ok bool) {
	if c := r.Next(); c != '-' && (c < '0' || c > '9') {
		r.err = r.unexpected(want)
		return p, false
	}
	p.From = r.i
	r.err = r.number()
	p.To = r.i
	return p, r.err == nil
}

func ReadInteger(v *int64, r *Reader) {
	p, ok := r.numeral("an integer")
	if !ok {
		return
	}
	text := r.part(p)
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil:
		*v = n
	case bytes.ContainsAny(r.Raw(p), ".eE"):
		r.err = malformed("%s at byte %d is not an integer", Clip(text), p.From)
	default:
		r.err = malformed("%s at byte %d is not an integer of 64 bits", Clip(text), p.From)
	}
}

func ReadNumber(v *float64, r *Reader) {
	p, ok := r.numeral("a number")
	if !ok {
		return
	}
	n, err := strconv.ParseFloat(r.part(p), 64)
	if err != nil {
		r.err = malformed("%s at byte %d is beyond the numbers of 64 bits", Clip(r.part(p)), p.From)
		return
	}
	*v = n
}

func ReadBoolean(v *bool, r *Reader) {
	switch r.Next() {
	case 't':
		*v, r.err = true, r.Literal("true")
	case 'f':
		*v, r.err = false, r.Literal("false")
	default:
		r.err = r.unexpected("true or false")
	}
}

// ReadAny reads what encoding/json reads into an any.
func ReadAny(v *any, r *Reader) {
	if r.depth > maxNesting {
		r.err = malformed("nested deeper than %d", maxNesting)
		return
	}
	switch c := r.Next(); {
	case c == '{':
		*v = readValue(r, func(v *map[string]any, r *Reader) { ReadMap(v, r, ReadAny) })
	case c == '[':
		*v = readValue(r, func(v *[]any, r *Reader) { ReadList(v, r, ReadAny) })
	case c == '"':
		*v = readValue(r, ReadString)
	case c == 't' || c == 'f':
		*v = readValue(r, ReadBoolean)
	case c == 'n':
		*v, r.err = nil, r.Literal("null")
	case c == '-' || c >= '0' && c <= '9':
		*v = readValue(r, ReadNumber)
	default:
		r.err = r.unexpected("a value")
	}
}

func readValue[T any](r *Reader, read func(*T, *Reader)) any {
	var v T
	read(&v, r)
	return v
}

// ReadPointer reads a value whose absence its struct can tell from zero.
func ReadPointer[T any](v **T, r *Reader, read func(*T, *Reader)) {
	*v = new(T)
	read(*v, r)
}

func ReadList[T any](v *[]T, r *Reader, item func(*T, *Reader)) {
	if !r.enter('[', "an array") {
		return
	}
	list := []T{}
	for r.Next() != ']' || len(list) > 0 {
		if cap(list) == 0 {
			list = make([]T, 0, 4)
		}
		var zero T
		list = append(list, zero)
		if item(&list[len(list)-1], r); r.err != nil {
			r.err = fmt.Errorf("[%d]: %w", len(list)-1, r.err)
			return
		}
		if r.Next() != ',' {
			break
		}
		r.i++
	}
	*v = list
	r.leave(']')
}

func ReadMap[T any](v *map[string]T, r *Reader, value func(*T, *Reader)) {
	if !r.enter('{', "an object") {
		return
	}
	found := map[string]T{}
	var x T
	for r.Next() != '}' || len(found) > 0 {
		p, err := r.key()
		name := ""
		if err == nil {
			if name = r.part(p); contains(found, name) {
				err = repeated(name)
			} else {
				err = r.Expect(':')
			}
		}
		if r.err = err; err != nil {
			return
		}
		var zero T
		x = zero
		if value(&x, r); r.err != nil {
			r.err = fmt.Errorf("%s: %w", Clip(name), r.err)
			return
		}
		found[name] = x
		if r.Next() != ',' {
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

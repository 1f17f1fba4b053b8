package events

import (
	"bytes"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner walks JSON text that is known to be valid UTF-8. It is stricter than
// encoding/json: keys are unique at every depth, NUL and unpaired surrogates are
// refused, and nesting is bounded.
type scanner struct {
	b    []byte
	i    int
	keys []span // of the objects that are open, innermost last
}

// span is a string or value in the text, without a string's quotes.
type span struct {
	from, to int
	escaped  bool
}

var scanners = sync.Pool{New: func() any { return &scanner{keys: make([]span, 0, manyKeys)} }}

// newScanner gives out a scanner, which is its caller's until free.
func newScanner(b []byte) *scanner {
	s := scanners.Get().(*scanner)
	s.b = b
	return s
}

func (s *scanner) free() {
	*s = scanner{keys: s.keys[:0]} // keeps nobody's text alive
	scanners.Put(s)
}

func (s *scanner) raw(p span) []byte { return s.b[p.from:p.to] }

// same reports whether two strings are equal once unescaped.
func (s *scanner) same(p, q span) bool {
	if p.escaped || q.escaped {
		return s.text(p) == s.text(q)
	}
	return bytes.Equal(s.raw(p), s.raw(q))
}

func (s *scanner) text(p span) string {
	if p.escaped {
		return unescape(s.raw(p))
	}
	return string(s.raw(p))
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// next skips white space and reports the byte there; 0 at the end.
func (s *scanner) next() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) expect(c byte) error {
	if s.next() != c {
		return s.unexpected("'" + string(c) + "'")
	}
	s.i++
	return nil
}

func (s *scanner) unexpected(want string) error {
	if s.i >= len(s.b) {
		return malformed("the JSON ends at byte %d, where %s belongs", s.i, want)
	}
	return malformed("byte %d is %q, where %s belongs", s.i, s.b[s.i], want)
}

// string reads a string; i is at its opening quote.
func (s *scanner) string() (span, error) {
	s.i++
	p := span{from: s.i}
	for s.i = stringTo(s.b, s.i); s.i < len(s.b); s.i = stringTo(s.b, s.i) {
		switch s.b[s.i] {
		case '"':
			p.to = s.i
			s.i++
			return p, nil
		case '\\':
			p.escaped = true
			if err := s.escape(); err != nil {
				return p, err
			}
		default:
			return p, malformed("an unescaped control character in a string at byte %d", s.i)
		}
	}
	return p, malformed("a string that begins at byte %d does not end", p.from)
}

func (s *scanner) escape() error {
	at := s.i
	s.i++
	if s.i >= len(s.b) {
		return malformed("an escape at byte %d does not end", at)
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return nil
	case 'u':
	default:
		return malformed("an unknown escape at byte %d", at)
	}
	r, ok := hex4(s.b, s.i+1)
	if !ok {
		return malformed("a bad \\u escape at byte %d", at)
	}
	s.i += 5
	switch {
	case r == 0:
		return malformed("a NUL character at byte %d", at)
	case utf16.IsSurrogate(r):
		low, ok := rune(0), false
		if s.i+1 < len(s.b) && s.b[s.i] == '\\' && s.b[s.i+1] == 'u' {
			low, ok = hex4(s.b, s.i+2)
		}
		if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
			return malformed("an unpaired surrogate at byte %d", at)
		}
		s.i += 6
	}
	return nil
}

func hex4(b []byte, i int) (rune, bool) {
	if i+4 > len(b) {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape expects what escape accepted.
func unescape(s []byte) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(s, i+1)
			i += 4
			if utf16.IsSurrogate(r) {
				low, _ := hex4(s, i+3)
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

// value skips one value and reports where it is.
func (s *scanner) value(depth int) (span, error) {
	if depth > maxNesting {
		return span{}, malformed("nested deeper than %d", maxNesting)
	}
	c := s.next()
	p := span{from: s.i}
	var err error
	switch {
	case c == '{':
		err = s.object(depth)
	case c == '[':
		err = s.array(depth)
	case c == '"':
		_, err = s.string()
	case c == '-' || c >= '0' && c <= '9':
		err = s.number()
	case c == 't':
		err = s.literal("true")
	case c == 'f':
		err = s.literal("false")
	case c == 'n':
		err = s.literal("null")
	default:
		err = s.unexpected("a value")
	}
	p.to = s.i
	return p, err
}

func (s *scanner) literal(word string) error {
	if s.i+len(word) > len(s.b) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.unexpected(word)
	}
	s.i += len(word)
	return nil
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > from
}

func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return s.unexpected("a digit")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	return nil
}

func (s *scanner) array(depth int) error {
	s.i++
	if s.next() == ']' {
		s.i++
		return nil
	}
	for {
		if _, err := s.value(depth + 1); err != nil {
			return err
		}
		if s.next() == ',' {
			s.i++
			continue
		}
		return s.expect(']')
	}
}

func (s *scanner) object(depth int) error {
	s.i++
	if s.next() == '}' {
		s.i++
		return nil
	}
	m := newMembers(s)
	for {
		if _, err := m.key(); err != nil {
			return err
		}
		if _, err := s.value(depth + 1); err != nil {
			return err
		}
		if s.next() == ',' {
			s.i++
			continue
		}
		m.close()
		return s.expect('}')
	}
}

// key reads a key; a colon follows.
func (s *scanner) key() (span, error) {
	if s.next() != '"' {
		return span{}, s.unexpected("a key")
	}
	return s.string()
}

// members are the keys of one object; a second of the same name is refused.
type members struct {
	s     *scanner
	base  int             // of this object's keys on the scanner's stack
	marks uint64          // of the keys so far: a key whose mark is not there is new
	seen  map[string]bool // instead of the stack, once there are many
}

const manyKeys = 64

func newMembers(s *scanner) members { return members{s: s, base: len(s.keys)} }

func (m *members) close() { m.s.keys = m.s.keys[:m.base] }

// key reads a key and its colon.
func (m *members) key() (span, error) {
	p, err := m.s.key()
	if err != nil {
		return p, err
	}
	if m.repeats(p) {
		return p, repeated(m.s.text(p))
	}
	return p, m.s.expect(':')
}

func repeated(key string) error { return malformed("the key %q appears twice", clip(key)) }

func (m *members) repeats(p span) bool {
	s := m.s
	own := s.keys[m.base:]
	if m.seen == nil && len(own) == manyKeys {
		m.seen = make(map[string]bool, 4*manyKeys)
		for _, k := range own {
			m.seen[s.text(k)] = true
		}
		m.close()
	}
	if m.seen != nil {
		name := s.text(p)
		again := m.seen[name]
		m.seen[name] = true
		return again
	}
	mark := s.mark(p)
	if m.marks&mark != 0 {
		for _, k := range own {
			if s.same(k, p) {
				return true
			}
		}
	}
	m.marks |= mark
	s.keys = append(s.keys, p)
	return false
}

// mark is one bit, the same for equal keys.
func (s *scanner) mark(p span) uint64 {
	if p.escaped {
		return mark(s.text(p))
	}
	return mark(s.raw(p))
}

func mark[T string | []byte](key T) uint64 {
	n := len(key)
	if n == 0 {
		return 1
	}
	return 1 << ((n + 5*int(key[0]) + 11*int(key[n-1]) + 23*int(key[n/2])) & 63)
}

// clip shortens what an error quotes.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "…"
}

// checkJSON reports whether b is one strict JSON value, and where it is.
func checkJSON(b []byte) (span, error) {
	if !utf8.Valid(b) {
		return span{}, malformed("invalid UTF-8")
	}
	s := newScanner(b)
	defer s.free()
	p, err := s.value(0)
	if err != nil {
		return p, err
	}
	if s.next(); s.i != len(b) {
		return p, malformed("bytes follow the JSON value at byte %d", s.i)
	}
	return p, nil
}

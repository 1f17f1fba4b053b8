package strictjson

import (
	"bytes"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// A Scanner walks JSON text that is known to be valid UTF-8. It is stricter than
// encoding/json: keys are unique at every depth, NUL and unpaired surrogates are
// refused, and nesting is bounded.
type Scanner struct {
	b    []byte
	i    int
	keys []Span // of the objects that are open, innermost last
}

// A Span is a string or value in the text, without a string's quotes.
type Span struct {
	From, To int
	Escaped  bool
}

var scanners = sync.Pool{New: func() any { return &Scanner{keys: make([]Span, 0, manyKeys)} }}

// NewScanner gives out a scanner, which is its caller's until Free.
func NewScanner(b []byte) *Scanner {
	s := scanners.Get().(*Scanner)
	s.b = b
	return s
}

// Free gives the scanner back; it must not be used any more.
func (s *Scanner) Free() {
	*s = Scanner{keys: s.keys[:0]} // keeps nobody's text alive
	scanners.Put(s)
}

// Raw is a part of the text as it stands there.
func (s *Scanner) Raw(p Span) []byte { return s.b[p.From:p.To] }

// same reports whether two strings are equal once unescaped.
func (s *Scanner) same(p, q Span) bool {
	if p.Escaped || q.Escaped {
		return s.Text(p) == s.Text(q)
	}
	return bytes.Equal(s.Raw(p), s.Raw(q))
}

// Text is what a string says, its escapes resolved.
func (s *Scanner) Text(p Span) string {
	if p.Escaped {
		return Unescape(s.Raw(p))
	}
	return string(s.Raw(p))
}

func (s *Scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// Next skips white space and reports the byte there; 0 at the end.
func (s *Scanner) Next() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// Comma skips a comma, if that is next, and reports whether it was.
func (s *Scanner) Comma() bool {
	if s.Next() != ',' {
		return false
	}
	s.i++
	return true
}

// Rest reports whether anything but white space follows, and where.
func (s *Scanner) Rest() (at int, more bool) {
	s.Next()
	return s.i, s.i != len(s.b)
}

// Expect reads one byte, which must be c.
func (s *Scanner) Expect(c byte) error {
	if s.Next() != c {
		return s.unexpected("'" + string(c) + "'")
	}
	s.i++
	return nil
}

func (s *Scanner) unexpected(want string) error {
	if s.i >= len(s.b) {
		return malformed("the JSON ends at byte %d, where %s belongs", s.i, want)
	}
	return malformed("byte %d is %q, where %s belongs", s.i, s.b[s.i], want)
}

// Quoted reads a string; i is at its opening quote.
func (s *Scanner) Quoted() (Span, error) {
	s.i++
	p := Span{From: s.i}
	for s.i = stringTo(s.b, s.i); s.i < len(s.b); s.i = stringTo(s.b, s.i) {
		switch s.b[s.i] {
		case '"':
			p.To = s.i
			s.i++
			return p, nil
		case '\\':
			p.Escaped = true
			if err := s.escape(); err != nil {
				return p, err
			}
		default:
			return p, malformed("an unescaped control character in a string at byte %d", s.i)
		}
	}
	return p, malformed("a string that begins at byte %d does not end", p.From)
}

func (s *Scanner) escape() error {
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

// Unescape expects what escape accepted.
func Unescape(s []byte) string {
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

// Value skips one value and reports where it is.
func (s *Scanner) Value(depth int) (Span, error) {
	if depth > maxNesting {
		return Span{}, malformed("nested deeper than %d", maxNesting)
	}
	c := s.Next()
	p := Span{From: s.i}
	var err error
	switch {
	case c == '{':
		err = s.object(depth)
	case c == '[':
		err = s.array(depth)
	case c == '"':
		_, err = s.Quoted()
	case c == '-' || c >= '0' && c <= '9':
		err = s.number()
	case c == 't':
		err = s.Literal("true")
	case c == 'f':
		err = s.Literal("false")
	case c == 'n':
		err = s.Literal("null")
	default:
		err = s.unexpected("a value")
	}
	p.To = s.i
	return p, err
}

// Literal reads true, false or null.
func (s *Scanner) Literal(word string) error {
	if s.i+len(word) > len(s.b) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.unexpected(word)
	}
	s.i += len(word)
	return nil
}

func (s *Scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > from
}

// Number reads a number.
func (s *Scanner) Number() (Span, error) {
	p := Span{From: s.i}
	err := s.number()
	p.To = s.i
	return p, err
}

func (s *Scanner) number() error {
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

func (s *Scanner) array(depth int) error {
	s.i++
	if s.Next() == ']' {
		s.i++
		return nil
	}
	for {
		if _, err := s.Value(depth + 1); err != nil {
			return err
		}
		if s.Next() == ',' {
			s.i++
			continue
		}
		return s.Expect(']')
	}
}

func (s *Scanner) object(depth int) error {
	s.i++
	if s.Next() == '}' {
		s.i++
		return nil
	}
	m := NewMembers(s)
	for {
		if _, err := m.Key(); err != nil {
			return err
		}
		if _, err := s.Value(depth + 1); err != nil {
			return err
		}
		if s.Next() == ',' {
			s.i++
			continue
		}
		m.close()
		return s.Expect('}')
	}
}

// key reads a key; a colon follows.
func (s *Scanner) key() (Span, error) {
	if s.Next() != '"' {
		return Span{}, s.unexpected("a key")
	}
	return s.Quoted()
}

// Clip shortens what an error quotes.
func Clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return s[:64] + "…"
}

// Check reports whether b is one strict JSON value, and where it is.
func Check(b []byte) (Span, error) {
	if !utf8.Valid(b) {
		return Span{}, malformed("invalid UTF-8")
	}
	s := NewScanner(b)
	defer s.Free()
	p, err := s.Value(0)
	if err != nil {
		return p, err
	}
	if s.Next(); s.i != len(b) {
		return p, malformed("bytes follow the JSON value at byte %d", s.i)
	}
	return p, nil
}

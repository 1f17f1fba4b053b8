package events

import (
	"bytes"
	"fmt"

	"unicode/utf8"
)

// A shape is the JSON form of a payload: which members an object must have and
// of which kind each is. encoding/json alone would take a missing or null member
// for a zero one, and a member in another case for the one meant.
type shape struct {
	kind    kind
	members []member // of an object
	of      *shape   // items of an array, values of a map
}

type member struct {
	name     string
	required bool
	shape    *shape
}

type kind byte

const (
	isAny kind = iota
	isString
	isInteger
	isNumber
	isBoolean
	isArray
	isMap
	isObject
)

var kindNames = [...]string{"a value", "a string", "an integer", "a number", "true or false", "an array", "an object", "an object"}

var (
	shapeAny     = &shape{kind: isAny}
	shapeString  = &shape{kind: isString}
	shapeInteger = &shape{kind: isInteger}
	shapeNumber  = &shape{kind: isNumber}
	shapeBoolean = &shape{kind: isBoolean}
)

// checkShape holds JSON text to a shape. Members that the shape does not name
// are left alone: newer writers may add them.
func checkShape(b []byte, sh *shape) error {
	if !utf8.Valid(b) {
		return malformed("invalid UTF-8")
	}
	var keys [24]span
	s := scanner{b: b, keys: keys[:0]}
	if err := s.shaped(sh, 0); err != nil {
		return err
	}
	if s.next(); s.i != len(b) {
		return malformed("bytes follow the JSON value at byte %d", s.i)
	}
	return nil
}

func (s *scanner) shaped(sh *shape, depth int) error {
	if depth > maxNesting {
		return malformed("nested deeper than %d", maxNesting)
	}
	c := s.next()
	ok := true
	switch sh.kind {
	case isString:
		ok = c == '"'
	case isInteger, isNumber:
		ok = c == '-' || c >= '0' && c <= '9'
	case isBoolean:
		ok = c == 't' || c == 'f'
	case isArray:
		ok = c == '['
	case isMap, isObject:
		ok = c == '{'
	}
	if !ok {
		return s.unexpected(kindNames[sh.kind])
	}
	switch sh.kind {
	case isArray:
		return s.shapedArray(sh, depth)
	case isMap:
		return s.shapedMap(sh, depth)
	case isObject:
		return s.shapedObject(sh, depth)
	}
	p, err := s.value(depth)
	if err == nil && sh.kind == isInteger && bytes.ContainsAny(s.raw(p), ".eE") {
		return malformed("%s at byte %d is not an integer", clip(string(s.raw(p))), p.from)
	}
	return err
}

func (s *scanner) shapedArray(sh *shape, depth int) error {
	s.i++
	if s.next() == ']' {
		s.i++
		return nil
	}
	for i := 0; ; i++ {
		if err := s.shaped(sh.of, depth+1); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
		if s.next() == ',' {
			s.i++
			continue
		}
		return s.expect(']')
	}
}

func (s *scanner) shapedMap(sh *shape, depth int) error {
	return s.eachMember(func(key span) error {
		if err := s.shaped(sh.of, depth+1); err != nil {
			return fmt.Errorf("%s: %w", clip(s.text(key)), err)
		}
		return nil
	})
}

func (s *scanner) shapedObject(sh *shape, depth int) error {
	var seen uint64 // members beyond 64 are not in any contract; emitting one fails a test
	next := 0
	err := s.eachMember(func(key span) error {
		i, err := s.memberOf(sh, key, next)
		if err != nil {
			return err
		}
		if i < 0 {
			_, err := s.value(depth + 1)
			return err
		}
		next = i + 1
		seen |= 1 << i
		if err := s.shaped(sh.members[i].shape, depth+1); err != nil {
			return fmt.Errorf("%s: %w", sh.members[i].name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, m := range sh.members {
		if m.required && seen&(1<<i) == 0 {
			return malformed("%s is required", m.name)
		}
	}
	return nil
}

// memberOf finds a key among the members, -1 if it is none. Members mostly come
// in their contract's order, so guess is tried first. A key that differs from a
// member in case only is refused: encoding/json would take it for the member.
func (s *scanner) memberOf(sh *shape, key span, guess int) (int, error) {
	name := s.raw(key)
	if key.escaped {
		name = []byte(s.text(key))
	}
	if guess < len(sh.members) && string(name) == sh.members[guess].name {
		return guess, nil
	}
	for i := range sh.members {
		if string(name) == sh.members[i].name {
			return i, nil
		}
	}
	for i := range sh.members {
		if bytes.EqualFold(name, []byte(sh.members[i].name)) {
			return 0, malformed("%q differs from %q in case", clip(string(name)), sh.members[i].name)
		}
	}
	return -1, nil
}

// eachMember reads an object; i is at its brace.
func (s *scanner) eachMember(value func(key span) error) error {
	s.i++
	if s.next() == '}' {
		s.i++
		return nil
	}
	m := newMembers(s)
	for {
		key, err := m.key()
		if err != nil {
			return err
		}
		if err := value(key); err != nil {
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

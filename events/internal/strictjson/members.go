package strictjson

// Members are the keys of one object; a second of the same name is refused.
type Members struct {
	s     *Scanner
	base  int             // of this object's keys on the scanner's stack
	marks uint64          // of the keys so far: a key whose mark is not there is new
	seen  map[string]bool // instead of the stack, once there are many
}

const manyKeys = 64

// NewMembers is for an object whose brace was read.
func NewMembers(s *Scanner) Members { return Members{s: s, base: len(s.keys)} }

func (m *Members) close() { m.s.keys = m.s.keys[:m.base] }

// Key reads a key and its colon.
func (m *Members) Key() (Span, error) {
	p, err := m.s.key()
	if err != nil {
		return p, err
	}
	if m.repeats(p) {
		return p, repeated(m.s.Text(p))
	}
	return p, m.s.Expect(':')
}

func repeated(key string) error { return malformed("the key %q appears twice", Clip(key)) }

func (m *Members) repeats(p Span) bool {
	s := m.s
	own := s.keys[m.base:]
	if m.seen == nil && len(own) == manyKeys {
		m.seen = make(map[string]bool, 4*manyKeys)
		for _, k := range own {
			m.seen[s.Text(k)] = true
		}
		m.close()
	}
	if m.seen != nil {
		name := s.Text(p)
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
func (s *Scanner) mark(p Span) uint64 {
	if p.Escaped {
		return mark(s.Text(p))
	}
	return mark(s.Raw(p))
}

func mark[T string | []byte](key T) uint64 {
	n := len(key)
	if n == 0 {
		return 1
	}
	return 1 << ((n + 5*int(key[0]) + 11*int(key[n-1]) + 23*int(key[n/2])) & 63)
}

package strictjson

import (
	"math/bits"
	"unicode/utf8"
)

// Eight bytes are looked at as one word. ones has every byte 1; highs is the bits
// that below and equal leave set in the bytes they find, in no other up to the
// first of these.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

func below(w uint64, c byte) uint64 { return (w - ones*uint64(c)) &^ w }

func equal(w uint64, c byte) uint64 {
	w ^= ones * uint64(c)
	return (w - ones) &^ w
}

// word is the first eight bytes, the first lowest.
func word[T string | []byte](s T) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// stringTo is where, from i on, the first byte is that cannot stand in a string
// as it is: a quote, a backslash or a control character.
func stringTo[T string | []byte](b T, i int) int {
	rest := b[i:]
	for len(rest) >= 8 {
		w := word(rest)
		if found := (below(w, ' ') | equal(w, '"') | equal(w, '\\')) & highs; found != 0 {
			return len(b) - len(rest) + bits.TrailingZeros64(found)/8
		}
		rest = rest[8:]
	}
	for i := range len(rest) {
		if c := rest[i]; c < ' ' || c == '"' || c == '\\' {
			return len(b) - len(rest) + i
		}
	}
	return len(b)
}

// PrintableTo is where the first byte is that is not printable ASCII.
func PrintableTo[T string | []byte](s T) int {
	rest := s
	for len(rest) >= 8 {
		w := word(rest)
		if found := (w | below(w, ' ') | equal(w, 0x7f)) & highs; found != 0 {
			return len(s) - len(rest) + bits.TrailingZeros64(found)/8
		}
		rest = rest[8:]
	}
	for i := range len(rest) {
		if c := rest[i]; c < ' ' || c > 0x7e {
			return len(s) - len(rest) + i
		}
	}
	return len(s)
}

// textTo is where, from i on, the first byte is that may need an escape.
func textTo(s string, i int) int {
	rest := s[i:]
	for len(rest) >= 8 {
		w := word(rest)
		found := w | below(w, ' ') | equal(w, '"') | equal(w, '\\') | equal(w, '&') |
			equal(w|2*ones, '>') // and '<', which differs from it in this bit
		if found &= highs; found != 0 {
			return len(s) - len(rest) + bits.TrailingZeros64(found)/8
		}
		rest = rest[8:]
	}
	for i := range len(rest) {
		if c := rest[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '&' || c == '<' || c == '>' {
			return len(s) - len(rest) + i
		}
	}
	return len(s)
}

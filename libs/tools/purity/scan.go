package main

import (
	"strings"
	"unicode"
)

type kind int

const (
	word kind = iota
	number
	literal // a string
	parameter
	sign
)

// tokenT is one word of SQL; words are in lower case, quoted ones as they are.
type tokenT struct {
	kind kind
	text string
}

// scan takes SQL apart.
func scan(sql string) []tokenT {
	var out []tokenT
	r := []rune(sql)
	for i := 0; i < len(r); {
		from := i
		switch c := r[i]; {
		case unicode.IsSpace(c):
			i++
		case c == '-' && i+1 < len(r) && r[i+1] == '-':
			for i < len(r) && r[i] != '\n' {
				i++
			}
		case unicode.IsLetter(c) || c == '_':
			for i < len(r) && (unicode.IsLetter(r[i]) || unicode.IsDigit(r[i]) || r[i] == '_') {
				i++
			}
			out = append(out, tokenT{word, strings.ToLower(string(r[from:i]))})
		case c == '"' || c == '\'':
			for i++; i < len(r) && r[i] != c; i++ {
			}
			i = min(i+1, len(r))
			k := literal
			if c == '"' {
				k = word
			}
			out = append(out, tokenT{k, strings.Trim(string(r[from:i]), string(c))})
		case unicode.IsDigit(c), c == '$':
			k := number
			if c == '$' {
				k = parameter
			}
			for i++; i < len(r) && (unicode.IsDigit(r[i]) || r[i] == '.'); i++ {
			}
			out = append(out, tokenT{k, string(r[from:i])})
		case strings.ContainsRune("<>=!|&#@~:", c):
			for i < len(r) && strings.ContainsRune("<>=!|&#@~:", r[i]) {
				i++
			}
			out = append(out, tokenT{sign, string(r[from:i])})
		default:
			i++
			out = append(out, tokenT{sign, string(c)})
		}
	}
	return out
}

// group is what stands between the parenthesis at open and its partner, and where
// it ends.
func group(s []tokenT, open int) ([]tokenT, int) {
	if open < 0 || open >= len(s) {
		return nil, len(s)
	}
	depth := 0
	for i := open; i < len(s); i++ {
		switch s[i].text {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				return s[open+1 : i], i
			}
		}
	}
	return s[open+1:], len(s)
}

// split cuts at a word or sign that is outside of parentheses.
func split(s []tokenT, at string) [][]tokenT {
	var out [][]tokenT
	depth, from := 0, 0
	for i, x := range s {
		switch {
		case x.kind == literal:
		case x.text == "(":
			depth++
		case x.text == ")":
			depth--
		case x.text == at && depth == 0:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

// words says whether a statement begins so.
func words(s []tokenT, w ...string) bool {
	if len(s) < len(w) {
		return false
	}
	for i := range w {
		if s[i].kind != word || s[i].text != w[i] {
			return false
		}
	}
	return true
}

func join(s []tokenT) string {
	parts := make([]string, len(s))
	for i, x := range s {
		parts[i] = x.text
	}
	return strings.Join(parts, " ")
}

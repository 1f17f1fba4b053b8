package domain

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	word   tokenKind = iota + 1 // a name or keyword
	quoted                      // a name in double quotes
	literal
	symbol
)

type token struct {
	kind tokenKind
	text string // of quoted names, what is between the quotes
	at   int    // where it begins
}

// scan splits SQL into tokens as DuckDB's lexer does, as far as names, literals
// and brackets go. Comments are refused: what follows one could be read as
// something else.
func scan(sql string) ([]token, error) {
	var out []token
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == 0:
			return nil, errors.New("contains a NUL character")
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case strings.HasPrefix(sql[i:], "--") || strings.HasPrefix(sql[i:], "/*"):
			return nil, errors.New("contains a comment")
		case c == '\'':
			end := closing(sql, i, '\'')
			if end < 0 {
				return nil, errors.New("has a string without an end")
			}
			out = append(out, token{literal, sql[i:end], i})
			i = end
		case c == '"':
			end := closing(sql, i, '"')
			if end < 0 {
				return nil, errors.New("has a quoted name without an end")
			}
			out = append(out, token{quoted, strings.ReplaceAll(sql[i+1:end-1], `""`, `"`), i})
			i = end
		case c == '$':
			return nil, errors.New("contains $")
		case c == '?':
			return nil, errors.New("contains ?")
		case c >= '0' && c <= '9':
			j := i
			for j < len(sql) && (isWord(rune(sql[j])) || sql[j] == '.') {
				j++
			}
			out = append(out, token{literal, sql[i:j], i})
			i = j
		default:
			r, size := utf8.DecodeRuneInString(sql[i:])
			if !isWord(r) {
				out = append(out, token{symbol, sql[i : i+size], i})
				i += size
				continue
			}
			j := i
			for j < len(sql) {
				r, size := utf8.DecodeRuneInString(sql[j:])
				if !isWord(r) {
					break
				}
				j += size
			}
			// E'…' has escapes by backslash, which the rules above do not follow.
			if j == i+1 && (c == 'e' || c == 'E') && j < len(sql) && sql[j] == '\'' {
				return nil, errors.New("has a string with E, which is not supported")
			}
			out = append(out, token{word, sql[i:j], i})
			i = j
		}
	}
	return out, nil
}

// closing returns the position after the quote that ends what begins at i.
func closing(sql string, i int, quote byte) int {
	for j := i + 1; j < len(sql); j++ {
		if sql[j] != quote {
			continue
		}
		if j+1 < len(sql) && sql[j+1] == quote {
			j++
			continue
		}
		return j + 1
	}
	return -1
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

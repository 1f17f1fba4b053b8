package main

import (
	"strings"
	"unicode"
)

// nameWords splits a name at underscores, hyphens, dots, digits and changes of case, in
// lower case: HTTPServer has the words http and server.
func nameWords(name string) []string {
	var words []string
	runes := []rune(name)
	start := -1
	end := func(i int) {
		if start >= 0 {
			words = append(words, strings.ToLower(string(runes[start:i])))
		}
		start = -1
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r):
			end(i)
			continue
		case start >= 0 && unicode.IsUpper(r):
			afterLower := unicode.IsLower(runes[i-1])
			beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if afterLower || beforeLower {
				end(i)
			}
		}
		if start < 0 {
			start = i
		}
	}
	end(len(runes))
	return words
}

// textWords splits a text into its words, in lower case. A name with underscores is one
// word: it belongs to a table or a payload, whose names others hold.
func textWords(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '\'' && r != '’'
	})
}

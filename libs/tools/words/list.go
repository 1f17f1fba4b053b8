package main

import (
	"fmt"
	"slices"
	"strings"
)

// A rule refuses some forms of a word or phrase.
type rule struct {
	forms      [][]string // each form as its words, in lower case
	names      bool       // it is about names
	messages   bool       // it is about messages
	term       string     // what to use instead
	exceptions []string   // path prefixes where the word is right
}

// A list is what to refuse, and under which paths nothing is refused.
type list struct {
	rules   []rule
	skipped []string
}

// parseList reads the list. An error begins with the line's number.
func parseList(text string) (list, error) {
	var l list
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "skip "); ok {
			path, err := parseException(rest)
			if err != nil {
				return list{}, fmt.Errorf("%d: %w", i+1, err)
			}
			l.skipped = append(l.skipped, path)
			continue
		}
		r, err := parseRule(line)
		if err != nil {
			return list{}, fmt.Errorf("%d: %w", i+1, err)
		}
		l.rules = append(l.rules, r)
	}
	return l, nil
}

// parseException reads PATH: REASON.
func parseException(text string) (path string, err error) {
	path, reason, _ := strings.Cut(text, ":")
	path = strings.TrimSpace(path)
	if path == "" || strings.TrimSpace(reason) == "" {
		return "", fmt.Errorf("exception %q has no path or no reason; write PATH: REASON", strings.TrimSpace(text))
	}
	return path, nil
}

// parseRule reads FORM, FORM | TERM | PATH: REASON, of which the last part is optional and
// may be repeated.
func parseRule(line string) (rule, error) {
	parts := strings.Split(line, "|")
	if len(parts) < 2 || strings.TrimSpace(parts[1]) == "" {
		return rule{}, fmt.Errorf("%q names no replacement; write WORD | REPLACEMENT", line)
	}
	r := rule{names: true, messages: true, term: strings.TrimSpace(parts[1])}
	forms := strings.TrimSpace(parts[0])
	if rest, ok := strings.CutPrefix(forms, "name:"); ok {
		forms, r.messages = rest, false
	} else if rest, ok := strings.CutPrefix(forms, "message:"); ok {
		forms, r.names = rest, false
	}
	for _, form := range strings.Split(forms, ",") {
		words := textWords(form)
		if len(words) == 0 {
			return rule{}, fmt.Errorf("%q has an empty form; write WORD, WORD | REPLACEMENT", line)
		}
		r.forms = append(r.forms, words)
	}
	for _, part := range parts[2:] {
		path, err := parseException(part)
		if err != nil {
			return rule{}, err
		}
		r.exceptions = append(r.exceptions, path)
	}
	return r, nil
}

// under reports whether a file is one of the paths or in one of them.
func under(paths []string, file string) bool {
	return slices.ContainsFunc(paths, func(path string) bool {
		return file == path || strings.HasPrefix(file, strings.TrimSuffix(path, "/")+"/")
	})
}

// match returns the first form whose words follow each other in words, "" if none does.
func (r rule) match(words []string) string {
	for _, form := range r.forms {
		for i := range len(words) - len(form) + 1 {
			if slices.Equal(words[i:i+len(form)], form) {
				return strings.Join(form, " ")
			}
		}
	}
	return ""
}

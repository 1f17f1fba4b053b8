package git

import (
	"strings"
)

// Author is the author line of a raw commit, without the time.
func Author(commit []byte) string {
	for line := range strings.Lines(string(commit)) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			return ""
		}
		if rest, ok := strings.CutPrefix(line, "author "); ok {
			if i := strings.LastIndexByte(rest, '>'); i >= 0 {
				return rest[:i+1]
			}
			return rest
		}
	}
	return ""
}

// Trailer returns the text of a trailer of a raw commit's message: the last
// paragraph's line that begins with its name, with the lines that continue it.
func Trailer(commit []byte, name string) string {
	_, message, ok := strings.Cut(string(commit), "\n\n")
	if !ok {
		return ""
	}
	message = strings.TrimSpace(strings.ReplaceAll(message, "\r\n", "\n"))
	if i := strings.LastIndex(message, "\n\n"); i >= 0 {
		message = message[i+2:]
	}
	var found []string
	inside := false
	for line := range strings.Lines(message) {
		line = strings.TrimRight(line, "\n")
		switch {
		case len(line) > len(name) && strings.EqualFold(line[:len(name)], name) && line[len(name)] == ':':
			found, inside = append(found[:0], strings.TrimSpace(line[len(name)+1:])), true
		case inside && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")):
			found = append(found, strings.TrimSpace(line))
		default:
			inside = false
		}
	}
	return strings.ToValidUTF8(strings.Join(found, " "), "?")
}

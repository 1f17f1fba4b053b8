package events

import "fmt"

// String is the mistake for people: FILE:LINE: what is wrong (how to fix it).
func (p Problem) String() string {
	text := p.Message
	if p.File != "" {
		text = fmt.Sprintf("%s:%d: %s", p.File, p.Line, text)
	}
	if p.Fix != "" {
		text += " (" + p.Fix + ")"
	}
	return text
}

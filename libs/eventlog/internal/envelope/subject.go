package envelope

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

const (
	SubjectRoot = "freshet"
	MaxToken    = 512
)

// Subject is where an event is published: freshet.<namespace>.<service>.v1.<name>.
func Subject(e event.Event) (string, error) {
	rest, ok := strings.CutPrefix(e.Type(), TypePrefix)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", fmt.Errorf("type %q is not %s<service>.<version>.<name>", e.Type(), TypePrefix)
	}
	ns := Token(Namespace(e))
	if len(ns) > MaxToken {
		return "", errors.New("the namespace is too long")
	}
	return SubjectRoot + "." + ns + "." + Token(parts[0]) + "." + Token(parts[1]) + "." + Token(parts[2]), nil
}

// Token encodes any text as one token of a NATS subject: letters, digits, - and
// _ stay, every other byte becomes =XX, and the empty text becomes "=". Nothing
// that a user names can so become a wildcard, a separator or an API subject.
func Token(s string) string {
	plain := s != ""
	for i := 0; i < len(s) && plain; i++ {
		plain = tokenByte(s[i])
	}
	if plain {
		return s
	}
	if s == "" {
		return "="
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+8)
	for i := 0; i < len(s); i++ {
		if tokenByte(s[i]) {
			b = append(b, s[i])
		} else {
			b = append(b, '=', hex[s[i]>>4], hex[s[i]&15])
		}
	}
	return string(b)
}

func tokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// OwnSubjects matches every event of a service. Every writer of a service sends
// this one filter with its compare-and-append.
func OwnSubjects(service string) string { return SubjectRoot + ".*." + Token(service) + ".>" }

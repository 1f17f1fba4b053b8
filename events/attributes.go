package events

import (
	"net/url"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/freshet-io/freshet/contracts"
	"github.com/freshet-io/freshet/events/internal/strictjson"
)

// checkContext holds every attribute to CloudEvents 1.0 and to the limits.
func checkContext(c *event.EventContextV1) error {
	if err := checkASCII("id", c.ID, MaxID); err != nil {
		return err
	}
	if err := checkASCII("type", c.Type, MaxID); err != nil {
		return err
	}
	if c.Subject != nil {
		if err := checkString("subject", *c.Subject, MaxSubject); err != nil {
			return err
		}
	}
	if c.DataContentType != nil {
		if err := checkASCII("datacontenttype", *c.DataContentType, MaxSource); err != nil {
			return err
		}
	}
	if c.Time != nil {
		if y := c.Time.UTC().Year(); y < minYear || y >= maxYear {
			return malformed("time is in the year %d; %d to %d are allowed", y, minYear, maxYear-1)
		}
	}
	if len(c.Extensions) > MaxExtensions {
		return malformed("%d extensions, and %d are allowed", len(c.Extensions), MaxExtensions)
	}
	return nil
}

// Years that a time may lie in. They are constants rather than relative to
// today, so that an event that was accepted once can be read for ever.
const (
	minYear = 1900
	maxYear = 2100
)

func checkASCII(name, s string, limit int) error {
	if s == "" {
		return malformed("%s is missing or empty", name)
	}
	if len(s) > limit {
		return malformed("%s has %d characters, and %d are allowed", name, len(s), limit)
	}
	if i := strictjson.PrintableTo(s); i < len(s) {
		return malformed("%s has the byte %#02x; printable ASCII is allowed", name, s[i])
	}
	return nil
}

// checkString is CloudEvents' String type: no control characters, no
// noncharacters, at least one character.
func checkString[T string | []byte](name string, s T, limit int) error {
	if len(s) == 0 {
		return malformed("%s is empty", name)
	}
	if len(s) > limit {
		return malformed("%s has %d bytes, and %d are allowed", name, len(s), limit)
	}
	if strictjson.PrintableTo(s) < len(s) {
		return checkRunes(name, string(s))
	}
	return nil
}

func checkRunes(name, s string) error {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return malformed("%s has the control character %#02x", name, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return malformed("%s is not valid UTF-8", name)
		}
		if r < 0xa0 || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
			return malformed("%s has the character %U, which CloudEvents does not allow", name, r)
		}
		i += n
	}
	return nil
}

// isCore reports whether a name is an attribute that CloudEvents itself defines.
func isCore(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data":
		return true
	}
	return false
}

func checkExtensionName(name string) error {
	ok := len(name) >= 1 && len(name) <= maxNameLength
	for i := 0; ok && i < len(name); i++ {
		ok = lowerAlnum(name[i])
	}
	if !ok {
		return malformed("%q cannot name an attribute: 1 to %d of a-z and 0-9 can", strictjson.Clip(name), maxNameLength)
	}
	return nil
}

// What nearly every event has, made once. Events share these values; nobody
// writes through an attribute, setters put another in its place.
var (
	knownSources = map[string]types.URIRef{}
	knownSchemas = map[string]*types.URI{}
	jsonType     = contentJSON
)

func init() {
	for typ, c := range Channels {
		c.source, c.url = SourceOf(c.Owner), contracts.BaseURL+c.Schema
		c.schema = types.ParseURI(c.url)
		Channels[typ] = c
		knownSources[c.source] = *types.ParseURIRef(c.source)
		knownSchemas[c.url] = c.schema
	}
}

// SourceOf is the source of every event that a service owns.
func SourceOf(service string) string { return "/freshet/" + service }

func parseSource(s string) (types.URIRef, error) {
	if u, ok := knownSources[s]; ok {
		return u, nil
	}
	if err := checkString("source", s, MaxSource); err != nil {
		return types.URIRef{}, err
	}
	u := types.ParseURIRef(s)
	if u == nil || u.String() == "" {
		return types.URIRef{}, malformed("source %q is not a URI reference", strictjson.Clip(s))
	}
	return *u, nil
}

func parseSchema(s string) (*types.URI, error) {
	if u, ok := knownSchemas[s]; ok {
		return u, nil
	}
	if err := checkString("dataschema", s, MaxAttribute); err != nil {
		return nil, err
	}
	u := types.ParseURI(s)
	if u == nil || u.Scheme == "" {
		return nil, malformed("dataschema %q is not an absolute URI", strictjson.Clip(s))
	}
	return u, nil
}

// appendURL is u.String without its allocations, where u is of the plain form
// that Freshet's own sources and contracts have.
func appendURL(b []byte, u *url.URL) []byte {
	bare := u.Opaque == "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && u.RawPath == "" && plainPath(u.Path)
	switch {
	case bare && u.Scheme == "" && u.Host == "":
		return append(b, u.Path...)
	case bare && u.Scheme != "" && plainPath("/"+u.Host):
		b = append(append(b, u.Scheme...), "://"...)
		return append(append(b, u.Host...), u.Path...)
	}
	return append(b, u.String()...)
}

func plainPath(p string) bool {
	if len(p) < 2 || p[0] != '/' || p[1] == '/' {
		return false
	}
	for i := 1; i < len(p); i++ {
		if c := p[i]; !lowerAlnum(c) && c != '/' && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

package events

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events/internal/strictjson"
)

const contentStructured = "application/cloudevents+json"

// mode is how a message carries an event.
type mode int

const (
	modeNone mode = iota
	modeBinary
	modeStructured
)

// modeOf tells a message's mode by its content type and by whether it has a
// specversion header. Some clients send structured events without any content
// type: a JSON object without the header is taken as one.
func modeOf(contentType string, specVersion bool, body []byte) (mode, error) {
	media := strings.ToLower(strings.TrimSpace(contentType))
	if i := strings.IndexByte(media, ';'); i >= 0 {
		media = strings.TrimSpace(media[:i])
	}
	switch {
	case media == contentStructured || media == "application/cloudevents":
		return modeStructured, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return modeNone, fmt.Errorf("%w: %s; single events as %s are accepted", ErrUnsupported, strictjson.Clip(media), contentStructured)
	case specVersion:
		return modeBinary, nil
	}
	for _, c := range body {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			if media == "" || media == contentJSON {
				return modeStructured, nil
			}
		}
		break
	}
	return modeNone, fmt.Errorf("%w: neither a structured event (%s) nor one in headers", ErrUnsupported, contentStructured)
}

// binary builds an event of attributes that came as headers.
type binary struct {
	c       *envelope
	seen    map[string]bool
	version bool
	source  bool
}

func newBinary() *binary {
	return &binary{c: &envelope{}, seen: map[string]bool{}}
}

func (b *binary) set(name, value string) error {
	if b.seen[name] {
		return malformed("the attribute %q appears twice", strictjson.Clip(name))
	}
	b.seen[name] = true
	if err := checkString(strictjson.Clip(name), value, MaxAttribute); err != nil {
		return err
	}
	switch {
	case name == "specversion":
		if value != "1.0" {
			return malformed("specversion is %q; 1.0 is understood", strictjson.Clip(value))
		}
		b.version = true
		return nil
	case name == "data" || name == "data_base64":
		return malformed("%s cannot be a header", name)
	case isCore(name):
		b.source = b.source || name == "source"
		return setAttribute(b.c, name, value)
	}
	if err := checkExtensionName(name); err != nil {
		return err
	}
	return setExtension(b.c, name, value)
}

func (b *binary) event(data []byte) (event.Event, error) {
	if !b.version {
		return event.Event{}, malformed("specversion is missing")
	}
	if !b.source {
		return event.Event{}, malformed("source is missing")
	}
	if err := checkContext(&b.c.EventContextV1); err != nil {
		return event.Event{}, err
	}
	e := event.Event{Context: &b.c.EventContextV1}
	if len(data) == 0 {
		return e, nil
	}
	if isJSON(b.c.DataContentType) {
		p, err := strictjson.Check(data)
		if err != nil {
			return event.Event{}, err
		}
		if data = data[p.From:p.To]; string(data) == "null" {
			return e, nil
		}
	} else {
		e.DataBase64 = !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0
	}
	e.DataEncoded = append([]byte(nil), data...)
	return e, nil
}

// attributes calls put with every attribute of a checked event as text, in a
// fixed order, datacontenttype excepted.
func attributes(e event.Event, put func(name, value string)) (*event.EventContextV1, error) {
	c, err := contextOf(e)
	if err != nil {
		return nil, err
	}
	if err := checkContext(c); err != nil {
		return nil, err
	}
	source := string(appendURL(nil, &c.Source.URL))
	if err := checkString("source", source, MaxSource); err != nil {
		return nil, err
	}
	put("specversion", "1.0")
	put("id", c.ID)
	put("source", source)
	put("type", c.Type)
	if c.Subject != nil {
		put("subject", *c.Subject)
	}
	if c.Time != nil {
		put("time", c.Time.String())
	}
	if c.DataSchema != nil {
		put("dataschema", string(appendURL(nil, &c.DataSchema.URL)))
	}
	names := make([]string, 0, len(c.Extensions))
	for name := range c.Extensions {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := checkExtensionName(name); err != nil {
			return nil, err
		}
		text, err := extensionText(name, c.Extensions[name])
		if err != nil {
			return nil, err
		}
		put(name, text)
	}
	return c, nil
}

// percentDecode undoes what the HTTP and NATS bindings do to a header's value.
func percentDecode(s string) (string, error) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", malformed("a percent sign without two digits in a header")
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", malformed("a percent sign without two digits in a header")
		}
		out = append(out, byte(n))
		i += 2
	}
	if !utf8.Valid(out) {
		return "", malformed("a header does not decode to UTF-8")
	}
	return string(out), nil
}

func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}

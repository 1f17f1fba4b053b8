package events

import (
	"bytes"
	"encoding/base64"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/freshet-io/freshet/events/internal/strictjson"
)

const contentJSON = "application/json"

// appendEvent writes a checked event.
func appendEvent(b []byte, c *event.EventContextV1, e event.Event) ([]byte, error) {
	if err := checkContext(c); err != nil {
		return nil, err
	}
	b = append(b, `{"specversion":"1.0","id":`...)
	b = strictjson.AppendString(b, c.ID)
	b = append(b, `,"source":`...)
	at := len(b)
	b = append(b, '"')
	b = appendURL(b, &c.Source.URL)
	if err := checkString("source", b[at+1:], MaxSource); err != nil {
		return nil, err
	}
	b = append(b, '"')
	b = append(b, `,"type":`...)
	b = strictjson.AppendString(b, c.Type)
	if c.Subject != nil {
		b = append(b, `,"subject":`...)
		b = strictjson.AppendString(b, *c.Subject)
	}
	if c.Time != nil {
		b = append(b, `,"time":"`...)
		b = append(c.Time.UTC().AppendFormat(b, time.RFC3339Nano), '"')
	}
	if c.DataContentType != nil {
		b = append(b, `,"datacontenttype":`...)
		b = strictjson.AppendString(b, *c.DataContentType)
	}
	if c.DataSchema != nil {
		b = append(b, `,"dataschema":"`...)
		at := len(b)
		b = appendURL(b, &c.DataSchema.URL)
		if err := checkString("dataschema", b[at:], MaxAttribute); err != nil {
			return nil, err
		}
		b = append(b, '"')
	}
	b, err := appendExtensions(b, c.Extensions)
	if err != nil {
		return nil, err
	}
	if b, err = appendData(b, c, e); err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}

func appendExtensions(b []byte, extensions map[string]any) ([]byte, error) {
	type extension struct {
		name  string
		value any
	}
	var array [12]extension
	list := array[:0]
	for name, value := range extensions {
		list = append(list, extension{name, value})
	}
	slices.SortFunc(list, func(x, y extension) int { return strings.Compare(x.name, y.name) })
	for _, x := range list {
		name := x.name
		if err := checkExtensionName(name); err != nil {
			return nil, err
		}
		if isCore(name) {
			return nil, malformed("the extension %q has the name of an attribute", name)
		}
		b = append(append(append(b, `,"`...), name...), `":`...)
		switch v := x.value.(type) {
		case string:
			if err := checkString(name, v, MaxAttribute); err != nil {
				return nil, err
			}
			b = strictjson.AppendString(b, v)
		case bool:
			b = strconv.AppendBool(b, v)
		case int32:
			b = strconv.AppendInt(b, int64(v), 10)
		default:
			text, err := extensionText(name, v)
			if err != nil {
				return nil, err
			}
			b = strictjson.AppendString(b, text)
		}
	}
	return b, nil
}

// extensionText is the canonical string of the attribute types that JSON has no
// type for.
func extensionText(name string, v any) (string, error) {
	switch v.(type) {
	case string, bool, int32, []byte, types.URI, *types.URI, types.URIRef, *types.URIRef, types.Timestamp, *types.Timestamp, time.Time:
	default:
		return "", malformed("the extension %q is a %T", name, v)
	}
	text, err := types.Format(v)
	if err != nil {
		return "", malformed("the extension %q: %v", name, err)
	}
	return text, checkString(name, text, MaxAttribute)
}

func appendData(b []byte, c *event.EventContextV1, e event.Event) ([]byte, error) {
	data := e.DataEncoded
	switch {
	case len(data) == 0:
		return b, nil
	case !e.DataBase64 && isJSON(c.DataContentType):
		p, err := strictjson.Check(data)
		if err != nil {
			return nil, err
		}
		if value := data[p.From:p.To]; string(value) != "null" {
			b = append(append(b, `,"data":`...), value...)
		}
		return b, nil
	case !e.DataBase64 && utf8.Valid(data) && bytes.IndexByte(data, 0) < 0:
		return strictjson.AppendString(append(b, `,"data":`...), string(data)), nil
	}
	b = append(b, `,"data_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"'), nil
}

func isJSON(contentType *string) bool {
	if contentType == nil || *contentType == contentJSON {
		return true
	}
	media, _, err := mime.ParseMediaType(*contentType)
	if err != nil {
		return false
	}
	return media == contentJSON || media == "text/json" || strings.HasSuffix(media, "+json")
}

// envelope is the context of an event, in one piece with what it points to.
type envelope struct {
	event.EventContextV1
	subject string
	time    types.Timestamp
}

// decoder collects the members of one structured event.
type decoder struct {
	scan        *strictjson.Scanner
	head        string // the event's bytes up to its data, which mostly is last; attributes are parts of it
	c           *envelope
	e           event.Event
	data        strictjson.Span
	hasData     bool
	base64      bool
	specVersion bool
	source      bool
}

func decodeEvent(b []byte) (event.Event, error) {
	if !utf8.Valid(b) {
		return event.Event{}, malformed("invalid UTF-8")
	}
	head := b
	if i := bytes.Index(b, []byte(`"data":`)); i >= 0 {
		head = b[:i]
	}
	d := decoder{scan: strictjson.NewScanner(b), head: string(head), c: &envelope{}}
	defer d.scan.Free()
	if err := d.object(); err != nil {
		return event.Event{}, err
	}
	if err := d.finish(); err != nil {
		return event.Event{}, err
	}
	d.e.Context = &d.c.EventContextV1
	return d.e, nil
}

func (d *decoder) object() error {
	s := d.scan
	if err := s.Expect('{'); err != nil {
		return err
	}
	m := strictjson.NewMembers(s)
	for empty := s.Next() == '}'; !empty; {
		k, err := m.Key()
		if err != nil {
			return err
		}
		if err := d.member(k); err != nil {
			return err
		}
		if !s.Comma() {
			break
		}
	}
	if err := s.Expect('}'); err != nil {
		return err
	}
	if at, more := s.Rest(); more {
		return malformed("bytes follow the event at byte %d", at)
	}
	return nil
}

func (d *decoder) member(k strictjson.Span) error {
	s := d.scan
	name := d.string(k)
	switch name {
	case "data":
		p, err := s.Value(1)
		if err != nil {
			return err
		}
		if string(s.Raw(p)) == "null" {
			return nil
		}
		if d.hasData {
			return malformed("both data and data_base64")
		}
		d.data, d.hasData = p, true
		return nil
	case "data_base64":
		v, ok, err := d.value(name)
		if err != nil || !ok {
			return err
		}
		if d.hasData {
			return malformed("both data and data_base64")
		}
		if d.e.DataEncoded, err = base64.StdEncoding.Strict().DecodeString(v); err != nil || strings.ContainsAny(v, "\r\n") {
			return malformed("data_base64 is not base64")
		}
		d.e.DataBase64, d.hasData, d.base64 = true, true, true
		return nil
	}
	if isCore(name) {
		v, ok, err := d.value(name)
		if err != nil || !ok {
			return err
		}
		return d.attribute(name, v)
	}
	if err := checkExtensionName(name); err != nil {
		return err
	}
	return d.extension(name)
}

func (d *decoder) string(p strictjson.Span) string {
	if p.Escaped || p.To > len(d.head) {
		return d.scan.Text(p)
	}
	return d.head[p.From:p.To]
}

// value reads a string; null is as good as absent.
func (d *decoder) value(name string) (string, bool, error) {
	s := d.scan
	switch s.Next() {
	case '"':
		p, err := s.Quoted()
		if err != nil {
			return "", false, err
		}
		return d.string(p), true, nil
	case 'n':
		return "", false, s.Literal("null")
	}
	return "", false, malformed("%s is not a string", name)
}

func (d *decoder) attribute(name, v string) error {
	if name == "specversion" {
		d.specVersion = v == "1.0"
		if !d.specVersion {
			return malformed("specversion is %q; 1.0 is understood", strictjson.Clip(v))
		}
		return nil
	}
	if name == "source" {
		d.source = true
	}
	return setAttribute(d.c, name, v)
}

// setAttribute sets a core attribute other than specversion; checkContext
// follows, once all are set.
func setAttribute(c *envelope, name, v string) (err error) {
	switch name {
	case "id":
		c.ID = v
	case "type":
		c.Type = v
	case "source":
		c.Source, err = parseSource(v)
	case "subject":
		c.subject = v
		c.Subject = &c.subject
	case "datacontenttype":
		c.DataContentType = &jsonType
		if v != contentJSON {
			contentType := v // only this one is moved to the heap
			c.DataContentType = &contentType
		}
	case "dataschema":
		c.DataSchema, err = parseSchema(v)
	case "time":
		c.Time, err = &c.time, parseTime(&c.time, v)
	}
	return err
}

func parseTime(t *types.Timestamp, s string) error {
	if len(s) > 64 || t.Time.UnmarshalText([]byte(s)) != nil {
		return malformed("time %q is not RFC 3339", strictjson.Clip(s))
	}
	t.Time = t.UTC()
	return nil
}

func (d *decoder) extension(name string) error {
	s := d.scan
	var v any
	switch c := s.Next(); {
	case c == '"':
		p, err := s.Quoted()
		if err != nil {
			return err
		}
		text := d.string(p)
		if err := checkString(name, text, MaxAttribute); err != nil {
			return err
		}
		v = text
	case c == '-' || c >= '0' && c <= '9':
		p, err := s.Number()
		if err != nil {
			return err
		}
		text := string(s.Raw(p))
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return malformed("the extension %q is %s, not an integer of 32 bits", name, strictjson.Clip(text))
		}
		v = int32(n)
	case c == 't':
		if err := s.Literal("true"); err != nil {
			return err
		}
		v = true
	case c == 'f':
		if err := s.Literal("false"); err != nil {
			return err
		}
		v = false
	case c == 'n':
		return s.Literal("null")
	default:
		return malformed("the extension %q is neither string, integer nor boolean", name)
	}
	return setExtension(d.c, name, v)
}

func setExtension(c *envelope, name string, v any) error {
	if len(c.Extensions) >= MaxExtensions {
		return malformed("more than %d extensions", MaxExtensions)
	}
	if c.Extensions == nil {
		c.Extensions = make(map[string]any, 8)
	}
	c.Extensions[name] = v
	return nil
}

// finish checks what needs all members.
func (d *decoder) finish() error {
	if !d.specVersion {
		return malformed("specversion is missing")
	}
	if !d.source {
		return malformed("source is missing")
	}
	if err := checkContext(&d.c.EventContextV1); err != nil {
		return err
	}
	if !d.hasData || d.base64 {
		return nil
	}
	data := d.scan.Raw(d.data)
	if isJSON(d.c.DataContentType) {
		d.e.DataEncoded = bytes.Clone(data)
		return nil
	}
	if data[0] != '"' {
		return malformed("data of type %s is neither a string nor data_base64", *d.c.DataContentType)
	}
	d.e.DataEncoded = []byte(strictjson.Unescape(data[1 : len(data)-1]))
	return nil
}

package events

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/freshet-io/freshet/events/internal/strictjson"
)

// Channel is one event type: who owns it, who reads it, what its subject names.
type Channel struct {
	Type      string
	Owner     string
	Decision  bool // added by the owner's fold; otherwise a fact
	Subject   string
	Consumers []string
	Schema    string // path in the contracts module

	payload func() payload
	source  string     // of its events
	url     string     // of its contract
	schema  *types.URI // the same, as events share it
}

// DataSchema is the URL of the type's contract, as events carry it.
func (c Channel) DataSchema() string { return c.url }

// IsDecision reports whether a type is added by its owner's fold.
func IsDecision(typ string) bool { return Channels[typ].Decision }

// payload is implemented by the generated types.
type payload interface {
	validate(*check)
	read(*strictjson.Reader)
	write(*strictjson.Writer)
}

// ErrInvalid is wrapped by every refusal of a payload.
var ErrInvalid = errors.New("invalid payload")

// Duration is a time.Duration that travels as Go writes it: "48h0m0s".
type Duration time.Duration

// MarshalText writes d as Go does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// draft makes an event that only lacks what the log gives it: id, source, time
// and the extensions of its place in a ripple.
func draft(typ, namespace, subject string, p payload) (event.Event, error) {
	if err := Validate(p); err != nil {
		return event.Event{}, fmt.Errorf("%s: %w", typ, err)
	}
	raw, err := strictjson.Write(p.write)
	if err != nil {
		return event.Event{}, fmt.Errorf("%s: %w", typ, err)
	}
	c := &envelope{EventContextV1: event.EventContextV1{
		Type: typ, DataSchema: Channels[typ].schema, DataContentType: &jsonType,
		Extensions: map[string]any{ExtNamespace: namespace},
	}}
	if c.subject = strings.TrimSpace(subject); c.subject != "" {
		c.Subject = &c.subject
	}
	return event.Event{Context: &c.EventContextV1, DataEncoded: raw}, nil
}

// Parse decodes and validates the payload of an event, as one of this package's
// payload types: events.Parse[events.DataCommitted](e). The strings of a payload
// are parts of one copy of its text: whoever keeps a single one for long, keeps
// the text, and clones it instead.
func Parse[P any, PP interface {
	*P
	payload
}](e event.Event) (P, error) {
	var p P
	err := parseEvent(e, PP(&p))
	return p, err
}

func parseEvent(e event.Event, p payload) error {
	if err := parse(e.Data(), p); err != nil {
		return fmt.Errorf("%s: %w", e.Type(), err)
	}
	return nil
}

// Check reports whether JSON text is a valid payload of the type.
func (c Channel) Check(b []byte) error {
	p := c.payload()
	if err := parse(b, p); err != nil {
		return fmt.Errorf("%s: %w", c.Type, err)
	}
	return nil
}

func parse(b []byte, p payload) error {
	if err := strictjson.Read(b, p.read); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return Validate(p)
}

// Validate checks a payload against its contract and reports every breach.
func Validate(p payload) error {
	quick := &check{quick: true}
	quick.root = quick
	if p.validate(quick); !quick.failed {
		return nil
	}
	c := &check{}
	c.root = c
	p.validate(c)
	return errors.Join(c.errs...)
}

// check collects the breaches of one payload, each with its path. A quick one
// only finds out whether there is any: nearly always there is none, and then no
// path need be put together.
type check struct {
	root   *check
	path   string
	errs   []error
	quick  bool
	failed bool
}

func (c *check) at(path string) *check {
	if c.quick {
		return c
	}
	return &check{root: c.root, path: c.join(path)}
}

func (c *check) join(path string) string {
	if c.path == "" {
		return path
	}
	return c.path + "." + path
}

func (c *check) index(path string, i int) string {
	if c.quick {
		return ""
	}
	return path + "[" + strconv.Itoa(i) + "]"
}

func (c *check) key(path, key string) string {
	if c.quick {
		return ""
	}
	return path + "." + key
}

func (c *check) fail(path, format string, args ...any) {
	if c.failed = true; c.quick {
		return
	}
	c.root.errs = append(c.root.errs, fmt.Errorf("%w: %s %s", ErrInvalid, c.join(path), fmt.Sprintf(format, args...)))
}

func (c *check) present(path string, ok bool) {
	if !ok {
		c.fail(path, "is required")
	}
}

// length checks the number of characters; there is no upper bound if max is negative.
func (c *check) length(path, s string, min, max int) {
	if n := len(s); n < 4*min || max >= 0 && n > max {
		switch n = utf8.RuneCountInString(s); {
		case n < min:
			c.fail(path, "has %d characters; at least %d are required", n, min)
		case max >= 0 && n > max:
			c.fail(path, "has %d characters; at most %d are allowed", n, max)
		}
	}
	if strings.IndexByte(s, 0) >= 0 {
		c.fail(path, "contains a NUL character")
	}
}

func (c *check) oneOf(path, s string, allowed ...string) {
	for _, a := range allowed {
		if s == a {
			return
		}
	}
	c.fail(path, "is %q; one of %s is allowed", s, strings.Join(allowed, ", "))
}

func (c *check) name(path, s string) {
	if !isName(s) {
		c.fail(path, "is %q; a name has 1 to 63 of a-z, 0-9, _, . and -, and begins with a letter or digit", s)
	}
}

func isName(s string) bool {
	ok := len(s) >= 1 && len(s) <= 63 && lowerAlnum(s[0])
	for i := 1; ok && i < len(s); i++ {
		ok = lowerAlnum(s[i]) || s[i] == '_' || s[i] == '.' || s[i] == '-'
	}
	return ok
}

func lowerAlnum(b byte) bool { return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' }

func (c *check) digest(path, s string) {
	if !isDigest(s) {
		c.fail(path, "is %q, not sha256: and 64 hexadecimal digits", s)
	}
}

func isDigest(s string) bool { return len(s) == 71 && s[:7] == "sha256:" && hex(s[7:]) }

func (c *check) revision(path, s string) {
	if len(s) < 40 || len(s) > 64 || !hex(s) {
		c.fail(path, "is %q, not a Git revision", s)
	}
}

func hex(s string) bool {
	for i := 0; i < len(s); i++ {
		if !(s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f') {
			return false
		}
	}
	return true
}

func (c *check) atLeast(path string, v, min int64) {
	if v < min {
		c.fail(path, "is %d; at least %d is allowed", v, min)
	}
}

func (c *check) atMost(path string, v, max int64) {
	if v > max {
		c.fail(path, "is %d; at most %d is allowed", v, max)
	}
}

// highest stands in for a bound that a contract does not set.
const highest = math.MaxFloat64

func (c *check) within(path string, v, min, max float64) {
	if v < min || v > max {
		c.fail(path, "is %g; %g to %g is allowed", v, min, max)
	}
}

// items checks the number of an array's items; no upper bound if max is negative.
func (c *check) items(path string, n, min, max int) {
	if n < min || max >= 0 && n > max {
		c.fail(path, "has %d items, outside what is allowed", n)
	}
}

func (c *check) finite(path string, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		c.fail(path, "is not a finite number")
	}
}

func (c *check) time(path string, t time.Time) {
	if t.IsZero() {
		c.fail(path, "is required")
	}
}

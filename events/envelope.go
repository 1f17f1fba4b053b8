package events

import (
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events/internal/strictjson"
)

// Extensions of Freshet's own events.
const (
	ExtNamespace   = "namespace"     // the tenant
	ExtCorrelation = "correlationid" // the ripple: id of its root
	ExtCausation   = "causationid"   // the triggering event; absent on a root
	ExtSequence    = "sequence"      // of the source, gap-free, zero-padded
	ExtHops        = "hops"          // causes between the root and this event
	ExtActor       = "actor"         // opaque id of the person or token
	ExtTraceparent = "traceparent"
	ExtDataRef     = "dataref" // where a payload too large for an event is
	ExtDataDigest  = "datadigest"
)

// checkInternal holds an event of the log to Freshet's envelope.
func checkInternal(e event.Event) error {
	c, err := contextOf(e)
	if err != nil {
		return err
	}
	ch, ok := Channels[c.Type]
	if !ok {
		return malformed("type %q has no contract", strictjson.Clip(c.Type))
	}
	if source := c.Source.Path; source != ch.source || c.Source.Host != "" || c.Source.Scheme != "" {
		return fmt.Errorf("%w: %s belongs to %s, not to %s", ErrReserved, c.Type, ch.source, strictjson.Clip(c.Source.String()))
	}
	if want := ch.schema; c.DataSchema != want && (c.DataSchema == nil || c.DataSchema.URL != want.URL) {
		return malformed("dataschema of %s is not %s", c.Type, ch.url)
	}
	if c.Time == nil {
		return malformed("time is missing")
	}
	if c.Subject == nil {
		return malformed("subject is missing")
	}
	if err := checkPlace(c); err != nil {
		return err
	}
	return checkPayload(c, e)
}

// checkPlace checks the extensions that place an event in its ripple.
func checkPlace(c *event.EventContextV1) error {
	if ns, _ := c.Extensions[ExtNamespace].(string); !isName(ns) {
		return malformed("namespace %q is not a name", strictjson.Clip(ns))
	}
	correlation, _ := c.Extensions[ExtCorrelation].(string)
	if err := checkASCII(ExtCorrelation, correlation, MaxID); err != nil {
		return err
	}
	causation, caused := c.Extensions[ExtCausation].(string)
	switch {
	case caused:
		if err := checkASCII(ExtCausation, causation, MaxID); err != nil {
			return err
		}
		if causation == c.ID {
			return malformed("an event cannot cause itself")
		}
	case correlation != c.ID:
		return malformed("causationid is missing, and correlationid is not the event's own id")
	}
	if seq, _ := c.Extensions[ExtSequence].(string); !isSequence(seq) {
		return malformed("sequence %q is not %d digits", strictjson.Clip(seq), sequenceDigits)
	}
	if hops, ok := c.Extensions[ExtHops].(int32); !ok || hops < 0 {
		return malformed("hops is missing or not a count")
	}
	return nil
}

func isSequence(s string) bool {
	if len(s) != sequenceDigits {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func checkPayload(c *event.EventContextV1, e event.Event) error {
	if e.DataBase64 || !isJSON(c.DataContentType) {
		return malformed("the payload is not JSON")
	}
	for _, b := range e.DataEncoded {
		switch b {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			return nil
		}
		return malformed("the payload is not a JSON object")
	}
	ref, _ := c.Extensions[ExtDataRef].(string)
	digest, _ := c.Extensions[ExtDataDigest].(string)
	if ref == "" || !isDigest(digest) {
		return malformed("there is neither data nor a dataref with its datadigest")
	}
	return nil
}

// CheckOutside refuses an event from outside that claims to be Freshet's own:
// services record such events, nobody sends them.
func CheckOutside(e event.Event) error {
	source := e.Source()
	if source == "/freshet" || strings.HasPrefix(source, "/freshet/") {
		return fmt.Errorf("%w: source %s", ErrReserved, strictjson.Clip(source))
	}
	if strings.HasPrefix(e.Type(), "io.freshet.") {
		return fmt.Errorf("%w: type %s", ErrReserved, strictjson.Clip(e.Type()))
	}
	return nil
}

func outside(e event.Event) (event.Event, error) {
	if err := CheckOutside(e); err != nil {
		return event.Event{}, err
	}
	return e, nil
}

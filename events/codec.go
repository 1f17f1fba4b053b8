package events

import (
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events/internal/strictjson"
)

// Limits of an event. They hold for events of the log and for those from outside.
const (
	MaxEvent       = 64 << 10 // bytes of a structured event; larger payloads go by dataref
	MaxVolumeData  = 1 << 20  // bytes of a binary Kafka record's value
	MaxID          = 128      // characters of id and type, ASCII
	MaxSource      = 256
	MaxSubject     = 1024
	MaxAttribute   = 2048 // characters of any other attribute
	MaxExtensions  = 32
	maxNameLength  = 32 // of an extension
	sequenceDigits = 20
)

// Errors that the ways in answer differently.
var (
	// ErrTooLarge: an event over its limit. HTTP answers 413.
	ErrTooLarge = errors.New("the event is too large")
	// ErrMalformed: not a strict CloudEvent 1.0. HTTP answers 400.
	ErrMalformed = strictjson.ErrMalformed
	// ErrUnsupported: a content type or mode that is not accepted, such as a batch. HTTP answers 415.
	ErrUnsupported = errors.New("unsupported event format")
	// ErrReserved: an event from outside, or of another service, that claims to be the service's own. HTTP answers 403.
	ErrReserved = errors.New("reserved for another service")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Codec writes and reads the events of the log: structured JSON, the same bytes
// in outbox, log and archive. Beside being a strict CloudEvent, an event of the
// log has a known type, that type's source and dataschema, a JSON object (or a
// dataref with its digest) as payload and the extensions that place it in its
// ripple. Both directions enforce all of it, so nothing else can get into the log.
type Codec struct{}

// Encode returns the event's bytes. Equal events have equal bytes.
func (Codec) Encode(e event.Event) ([]byte, error) {
	if err := checkInternal(e); err != nil {
		return nil, err
	}
	return EncodeStructured(e)
}

// Decode reads what Encode wrote, and refuses anything else with ErrMalformed,
// ErrTooLarge or ErrReserved. The event does not alias b.
func (Codec) Decode(b []byte) (event.Event, error) {
	e, err := DecodeStructured(b)
	if err != nil {
		return event.Event{}, err
	}
	if err := checkInternal(e); err != nil {
		return event.Event{}, err
	}
	return e, nil
}

// EncodeStructured writes any CloudEvent as structured JSON: attributes in a
// fixed order, extensions by name, data last.
func EncodeStructured(e event.Event) ([]byte, error) {
	c, err := contextOf(e)
	if err != nil {
		return nil, err
	}
	b, err := appendEvent(make([]byte, 0, 640+len(e.DataEncoded)), c, e)
	if err != nil {
		return nil, err
	}
	if len(b) > MaxEvent {
		return nil, fmt.Errorf("%w: %d bytes, and %d are allowed", ErrTooLarge, len(b), MaxEvent)
	}
	return b, nil
}

// DecodeStructured reads a structured JSON event from anywhere, strictly: no
// duplicate keys at any depth, no trailing bytes, no NUL, no invalid UTF-8, no
// attribute beyond its limits, not both data and data_base64.
func DecodeStructured(b []byte) (event.Event, error) {
	if len(b) > MaxEvent {
		return event.Event{}, fmt.Errorf("%w: %d bytes, and %d are allowed", ErrTooLarge, len(b), MaxEvent)
	}
	return decodeEvent(b)
}

func contextOf(e event.Event) (*event.EventContextV1, error) {
	for field, err := range e.FieldErrors {
		return nil, malformed("%s: %v", field, err)
	}
	c, ok := e.Context.(*event.EventContextV1)
	if !ok || c == nil {
		return nil, malformed("specversion is not 1.0")
	}
	return c, nil
}

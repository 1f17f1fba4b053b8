package events

import (
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// DecodeNATS reads an event from outside from a NATS message, structured or
// binary. Only ce- headers and the content type are looked at: Nats-* headers,
// which steer the server, never become part of an event. Events that claim to be
// Freshet's own are refused with ErrReserved.
func DecodeNATS(header map[string][]string, data []byte) (event.Event, error) {
	if len(data) > MaxEvent {
		return event.Event{}, fmt.Errorf("%w: %d bytes, and %d are allowed", ErrTooLarge, len(data), MaxEvent)
	}
	var contentType string
	types, version := 0, false
	for name, values := range header {
		switch {
		case strings.EqualFold(name, "content-type"):
			if types += len(values); len(values) > 0 {
				contentType = values[0]
			}
		case strings.EqualFold(name, "ce-specversion"):
			version = true
		}
	}
	if types > 1 {
		return event.Event{}, malformed("two content-type headers")
	}
	m, err := modeOf(contentType, version, data)
	if err != nil {
		return event.Event{}, err
	}
	var e event.Event
	if m == modeStructured {
		e, err = decodeEvent(data)
	} else {
		e, err = decodeHeaders(header, "ce-", contentType, data)
	}
	if err != nil {
		return event.Event{}, err
	}
	return outside(e)
}

// EncodeNATS writes an event structured, with the header that says so.
func EncodeNATS(e event.Event) (header map[string][]string, data []byte, err error) {
	if data, err = EncodeStructured(e); err != nil {
		return nil, nil, err
	}
	return map[string][]string{"content-type": {contentStructured}}, data, nil
}

package events

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events/internal/strictjson"
)

// DecodeHTTP reads an event from outside from a request, binary or structured.
// The body may have limit bytes (MaxEvent if limit is not positive). Events that
// claim to be Freshet's own are refused with ErrReserved.
func DecodeHTTP(r *http.Request, limit int64) (event.Event, error) {
	if limit <= 0 {
		limit = MaxEvent
	}
	if r.ContentLength > limit {
		return event.Event{}, fmt.Errorf("%w: %d bytes, and %d are allowed", ErrTooLarge, r.ContentLength, limit)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) || int64(len(body)) > limit:
		return event.Event{}, fmt.Errorf("%w: more than the %d bytes that are allowed", ErrTooLarge, limit)
	case err != nil:
		return event.Event{}, fmt.Errorf("reading the event: %w", err)
	}
	if len(r.Header.Values("Content-Type")) > 1 {
		return event.Event{}, malformed("two Content-Type headers")
	}
	contentType := r.Header.Get("Content-Type")
	m, err := modeOf(contentType, r.Header.Get("Ce-Specversion") != "", body)
	if err != nil {
		return event.Event{}, err
	}
	var e event.Event
	if m == modeStructured {
		e, err = decodeEvent(body)
	} else {
		e, err = decodeHeaders(r.Header, "ce-", contentType, body)
	}
	if err != nil {
		return event.Event{}, err
	}
	return outside(e)
}

// decodeHeaders reads a binary event of percent-encoded headers. Headers without
// the prefix are not the event's.
func decodeHeaders(header map[string][]string, prefix, contentType string, data []byte) (event.Event, error) {
	b := newBinary()
	for name, values := range header {
		name = strings.ToLower(name)
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		name = name[len(prefix):]
		if len(values) != 1 {
			return event.Event{}, malformed("the header %s%s has %d values", prefix, strictjson.Clip(name), len(values))
		}
		value, err := percentDecode(values[0])
		if err != nil {
			return event.Event{}, err
		}
		if name == "datacontenttype" && contentType != "" {
			return event.Event{}, malformed("both Content-Type and %sdatacontenttype", prefix)
		}
		if err := b.set(name, value); err != nil {
			return event.Event{}, err
		}
	}
	if contentType != "" {
		if err := b.set("datacontenttype", contentType); err != nil {
			return event.Event{}, err
		}
	}
	return b.event(data)
}

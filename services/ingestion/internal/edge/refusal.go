package edge

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/web"
)

// Reasons why an outside event is refused; the quarantine's and the counter's words.
const (
	reasonMalformed = "malformed"
	reasonReserved  = "reserved"
	reasonTooLarge  = "too_large"
	reasonPayload   = "payload"
	reasonNamespace = "namespace"
	reasonFile      = "file"
	reasonConflict  = "conflict"
)

// refusal is an outside event that is not taken: its fault, not ours.
type refusal struct {
	reason string
	status int
	title  string
	detail string
}

func (r *refusal) Error() string { return r.title + ": " + r.detail }

func refuse(reason string, status int, title, format string, args ...any) error {
	return &refusal{reason: reason, status: status, title: title, detail: fmt.Sprintf(format, args...)}
}

// refusedEvent turns the codec's error into a refusal.
func refusedEvent(err error) error {
	switch {
	case errors.Is(err, events.ErrTooLarge):
		return refuse(reasonTooLarge, http.StatusRequestEntityTooLarge, "Event too large", "%s; put the data into a file and name it", err)
	case errors.Is(err, events.ErrReserved):
		return refuse(reasonReserved, http.StatusForbidden, "Reserved", "%s", err)
	case errors.Is(err, events.ErrUnsupported):
		return refuse(reasonMalformed, http.StatusUnsupportedMediaType, "Not a CloudEvent", "%s", err)
	}
	return refuse(reasonMalformed, http.StatusBadRequest, "Bad event", "%s", err)
}

// answer writes an error: a refusal with its own status, anything else as ours.
func answer(w http.ResponseWriter, err error) {
	var r *refusal
	if errors.As(err, &r) {
		web.Problem(w, r.status, r.title, r.detail)
		return
	}
	web.Problem(w, http.StatusServiceUnavailable, "Not available", "this cannot be recorded at the moment; try again")
}

package whatif

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Trials begins trials.
type Trials interface {
	// Begin folds a service's log up to a position, with other events in the place of
	// some of the log's.
	Begin(ctx context.Context, service string, until uint64, instead ...event.Event) (Trial, error)
}

// A Trial is one service's fold.
type Trial interface {
	Consumes() []string // types of events
	Step(ctx context.Context, e event.Event, at uint64) (Step, error)
	End(ctx context.Context) error
}

// A Step is what one event led to.
type Step struct {
	Decisions []event.Event `json:"decisions"`
	Opened    []Effect      `json:"opened"`
	Waits     bool          `json:"waits"`  // until an event is answered that was parked
	Failed    string        `json:"failed"` // why it is parked, and was not then
}

// An Effect is work that a step asked for.
type Effect struct {
	Kind  string `json:"kind"`
	Cause string `json:"cause"`
}

// Caller sends a request to the suite and returns a successful answer.
type Caller func(ctx context.Context, method, path string, body io.Reader) (*http.Response, error)

// Begin begins a trial of a service of the suite.
func (call Caller) Begin(ctx context.Context, service string, until uint64, instead ...event.Event) (Trial, error) {
	t := &remote{call: call, service: service, path: "/v1/trials/" + service}
	if err := t.post(ctx, t.path, map[string]any{"until": until, "instead": instead}, &t.begun); err != nil {
		return nil, fmt.Errorf("%s: %w", service, err)
	}
	t.path += "/" + t.begun.Trial
	return t, nil
}

type remote struct {
	call          Caller
	service, path string
	begun         struct {
		Trial    string   `json:"trial"`
		Consumes []string `json:"consumes"`
	}
}

func (t *remote) Consumes() []string { return t.begun.Consumes }

func (t *remote) Step(ctx context.Context, e event.Event, at uint64) (Step, error) {
	var answer struct {
		Steps []Step `json:"steps"`
	}
	ask := map[string]any{"events": []any{map[string]any{"at": at, "event": e}}}
	if err := t.post(ctx, t.path, ask, &answer); err != nil {
		return Step{}, fmt.Errorf("%s: %w", t.service, err)
	}
	if len(answer.Steps) != 1 {
		return Step{}, fmt.Errorf("%s answered %d steps to one event", t.service, len(answer.Steps))
	}
	return answer.Steps[0], nil
}

func (t *remote) post(ctx context.Context, path string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	res, err := t.call(ctx, http.MethodPost, path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	return json.NewDecoder(res.Body).Decode(into)
}

func (t *remote) End(ctx context.Context) error {
	res, err := t.call(ctx, http.MethodDelete, t.path, nil)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

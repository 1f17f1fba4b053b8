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

// Caller sends a request to the suite and returns a successful answer.
type Caller func(ctx context.Context, method, path string, body io.Reader) (*http.Response, error)

// A trial is one service's fold, led another way.
type trial struct {
	call     Caller
	service  string
	path     string
	consumes map[string]bool
}

// An effect is work that a step asked for.
type effect struct {
	Kind   string `json:"kind"`
	Cause  string `json:"cause"`
	Closes string `json:"closes"`
}

// A step is what one event led to.
type step struct {
	Decisions []event.Event `json:"decisions"`
	Opened    []effect      `json:"opened"`
	Stale     bool          `json:"stale"`
	Failed    string        `json:"failed"`
}

func begin(ctx context.Context, call Caller, service string, until uint64) (*trial, error) {
	var answer struct {
		Trial    string   `json:"trial"`
		Consumes []string `json:"consumes"`
	}
	t := &trial{call: call, service: service, path: "/v1/trials/" + service, consumes: map[string]bool{}}
	if err := t.post(ctx, t.path, map[string]any{"until": until}, &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", service, err)
	}
	t.path += "/" + answer.Trial
	for _, typ := range answer.Consumes {
		t.consumes[typ] = true
	}
	return t, nil
}

// try gives the trial one event.
func (t *trial) try(ctx context.Context, e event.Event, at uint64) (step, error) {
	var answer struct {
		Steps []step `json:"steps"`
	}
	ask := map[string]any{"events": []any{map[string]any{"at": at, "event": e}}}
	if err := t.post(ctx, t.path, ask, &answer); err != nil {
		return step{}, fmt.Errorf("%s: %w", t.service, err)
	}
	if len(answer.Steps) != 1 {
		return step{}, fmt.Errorf("%s answered %d steps to one event", t.service, len(answer.Steps))
	}
	return answer.Steps[0], nil
}

func (t *trial) post(ctx context.Context, path string, body, into any) error {
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

func (t *trial) end(ctx context.Context) error {
	res, err := t.call(ctx, http.MethodDelete, t.path, nil)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

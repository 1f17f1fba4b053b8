// Package edge answers the console's HTTP routes: ripples and approvals to read, the
// stream of what changes, and what a person may ask for. The guard in front of all of
// them keeps other sites out.
package edge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/console/internal/state"
)

const (
	defaultLimit = 500
	eventLimit   = 5000 // of one ripple's
	streamPage   = 200
	pingEvery    = 15 * time.Second
)

// Log is what the edge needs of the service's own log.
type Log interface {
	State() eventlog.Reader
	Changed() <-chan struct{}
	RecordAndWait(ctx context.Context, facts ...eventlog.Fact) ([]eventlog.Receipt, error)
}

// Objects keeps notes.
type Objects interface {
	PutBytes(ctx context.Context, b []byte) (objects.Ref, error)
}

// Edge answers.
type Edge struct {
	log     Log
	objects Objects
	limit   int
	wait    time.Duration
}

// New returns an edge whose lists hold at most limit ripples.
func New(log Log, store Objects, limit int, wait time.Duration) *Edge {
	return &Edge{log: log, objects: store, limit: limit, wait: wait}
}

// Register adds the routes.
func (e *Edge) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /v1/ripples", Role: web.Reader, Summary: "List ripples, the newest first",
		Query: append(filters(), web.AtMost), Answer: web.Items[state.Ripple]{}}, e.ripples)
	mux.Handle(web.Route{Pattern: "GET /v1/ripples/{id}", Role: web.Reader, Summary: "Show a ripple with its events",
		Query: []web.Parameter{web.InNamespace}, Answer: RippleAnswer{}}, e.ripple)
	mux.Handle(web.Route{Pattern: "GET /v1/ripples/stream", Role: web.Reader, Summary: "Follow ripples as they change",
		Query:  append(filters(), web.Parameter{Name: "after", Summary: "only what changed after this number", Value: 0}),
		Answer: web.Media("text/event-stream")}, e.stream)
	mux.Handle(web.Route{Pattern: "GET /v1/approvals", Role: web.Reader, Summary: "List what waits for a person",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Items[state.Approval]{}}, e.approvals)
	mux.Handle(web.Route{Pattern: "POST /v1/approvals", Role: web.Operator, Summary: "Approve or deny a version for an environment",
		Body: approvalBody{}, Answer: Answer{}}, guard(e.decideApproval))
	mux.Handle(web.Route{Pattern: "POST /v1/trainings", Role: web.Operator, Summary: "Request a training",
		Body: trainingBody{}, Answer: Answer{}}, guard(e.askTraining))
	mux.Handle(web.Route{Pattern: "POST /v1/rollbacks", Role: web.Operator, Summary: "Roll an environment back",
		Body: rollbackBody{}, Answer: Answer{}}, guard(e.askRollback))
	mux.Handle(web.Route{Pattern: "POST /v1/promotions", Role: web.Operator, Summary: "Request the promotion of a version to an environment",
		Body: promotionBody{}, Answer: Answer{}}, guard(e.askPromotion))
}

// filters are what lists of ripples are picked by.
func filters() []web.Parameter {
	return []web.Parameter{
		web.InNamespace, {Name: "trigger", Summary: "only of this trigger: data, code, drift, quality, schedule or person"},
		{Name: "outcome", Summary: "only with this outcome"}, {Name: "all", Summary: "also ripples in which nothing happened", Value: false},
	}
}

func list[T any](w http.ResponseWriter, v []T, err error) {
	if err != nil {
		unreadable(w, err)
		return
	}
	web.List(w, v)
}

func (e *Edge) filter(r *http.Request) (state.Filter, error) {
	q := r.URL.Query()
	limit, err := web.Limit(r, min(defaultLimit, e.limit), e.limit)
	return state.Filter{Namespace: web.Namespace(r), Trigger: q.Get("trigger"), Outcome: q.Get("outcome"),
		Quiet: q.Get("all") == "true", Limit: limit}, err
}

func (e *Edge) ripples(w http.ResponseWriter, r *http.Request) {
	f, err := e.filter(r)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	ripples, err := state.Ripples(r.Context(), e.log.State(), f)
	list(w, ripples, err)
}

// A RippleAnswer is one ripple with its events.
type RippleAnswer struct {
	state.Ripple
	Items []state.Event `json:"items"`
}

func (e *Edge) ripple(w http.ResponseWriter, r *http.Request) {
	ctx, id := r.Context(), r.PathValue("id")
	ripple, err := state.RippleOf(ctx, e.log.State(), web.Namespace(r), id)
	if errors.Is(err, state.ErrUnknown) {
		web.NotFound(w, "no ripple %q in namespace %q", id, web.Namespace(r))
		return
	}
	if err != nil {
		unreadable(w, err)
		return
	}
	evs, err := state.RippleEvents(ctx, e.log.State(), web.Namespace(r), id, eventLimit)
	if err != nil {
		unreadable(w, err)
		return
	}
	web.JSON(w, http.StatusOK, RippleAnswer{Ripple: ripple, Items: evs})
}

// stream sends a ripple whenever it changes: from the client's Last-Event-ID or
// ?after= on, else from now on.
func (e *Edge) stream(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	f, err := e.filter(r)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	f.Since, f.Limit = true, streamPage
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = r.URL.Query().Get("after")
	}
	if f.Changed, err = strconv.ParseInt(after, 10, 64); err != nil {
		if f.Changed, err = state.Newest(ctx, e.log.State(), f.Namespace); err != nil {
			unreadable(w, err)
			return
		}
	}
	stream, err := web.SSE(w)
	if err != nil {
		return // the client is gone
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		changed := e.log.Changed()
		for {
			ripples, err := state.Ripples(ctx, e.log.State(), f)
			if err != nil {
				return // the client comes back with Last-Event-ID
			}
			for _, ripple := range ripples {
				if stream.SendJSON("ripple", strconv.FormatInt(ripple.Changed, 10), ripple) != nil {
					return
				}
				f.Changed = ripple.Changed
			}
			if len(ripples) < streamPage {
				break
			}
			f.Changed-- // one event may change several ripples, and the page may have cut them apart
		}
		select {
		case <-changed:
		case <-ping.C:
			if stream.Ping() != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (e *Edge) approvals(w http.ResponseWriter, r *http.Request) {
	approvals, err := state.Approvals(r.Context(), e.log.State(), web.Namespace(r))
	list(w, approvals, err)
}

// An Answer says what a person's wish became.
type Answer struct {
	ID        string `json:"id"` // of the event
	Ripple    string `json:"ripple"`
	Existing  bool   `json:"existing"` // it had been recorded before
	StatusURL string `json:"status_url"`
}

// keyConflict is the conflict of a wish that only its caller's key makes one.
const keyConflict = "this Idempotency-Key was used with other contents before"

// record makes a person's wish a fact and answers; conflict says what stands against
// it where the fact's key has other contents.
func (e *Edge) record(w http.ResponseWriter, r *http.Request, fact eventlog.Fact, conflict string) {
	ctx, cancel := context.WithTimeout(r.Context(), e.wait)
	defer cancel()
	receipts, err := e.log.RecordAndWait(ctx, fact)
	switch {
	case err == nil || len(receipts) == 1 && errors.Is(err, context.DeadlineExceeded):
		a := Answer{ID: receipts[0].ID, Ripple: fact.Cause.Correlation, Existing: receipts[0].Existing,
			StatusURL: "/v1/events/" + receipts[0].ID}
		if a.Ripple == "" {
			a.Ripple = a.ID
		}
		status := http.StatusCreated
		switch {
		case err != nil:
			status = http.StatusAccepted
		case a.Existing:
			status = http.StatusOK
		}
		w.Header().Set("Location", a.StatusURL)
		web.JSON(w, status, a)
	case errors.Is(err, eventlog.ErrConflict):
		web.Problem(w, http.StatusConflict, "Conflict", conflict)
	case errors.Is(err, eventlog.ErrParked):
		web.Problem(w, http.StatusUnprocessableEntity, "Parked", err.Error())
	default:
		web.Problem(w, http.StatusServiceUnavailable, "Not recorded", err.Error())
	}
}

// known reports whether a fact with a key was recorded and applied: then it is only
// recorded again, which gives the first answer, or a conflict.
func (e *Edge) known(ctx context.Context, namespace string, key []string) (bool, error) {
	if len(key) == 0 {
		return false, nil
	}
	_, err := state.EventOf(ctx, e.log.State(), namespace, eventlog.FactID("console", namespace, key...))
	if errors.Is(err, state.ErrUnknown) {
		return false, nil
	}
	return err == nil, err
}

// key is a fact's natural key where the caller gave one.
func key(r *http.Request, route string) []string {
	if k := r.Header.Get("Idempotency-Key"); k != "" {
		return []string{"request", route, k}
	}
	return nil
}

// actor is who acts. The guard has refused what is no actor.
func actor(r *http.Request) string {
	a, err := web.Actor(r)
	if err != nil || a == "" {
		return "operator"
	}
	return a
}

func unreadable(w http.ResponseWriter, err error) {
	web.Unreadable(w, "The console's state", err)
}

// fact completes a draft.
func fact(draft event.Event, key []string, cause eventlog.Cause, r *http.Request) eventlog.Fact {
	return eventlog.Fact{Event: draft, Key: key, Cause: cause, Actor: actor(r)}
}

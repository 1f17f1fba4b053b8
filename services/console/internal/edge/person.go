package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/console/internal/state"
)

const (
	bodyLimit = 64 << 10
	noteLimit = 16 << 10
	keyLimit  = 255
)

// read reads a request's JSON strictly: an unknown field is a mistake.
func read(w http.ResponseWriter, r *http.Request, v any) bool {
	if len(r.Header.Get("Idempotency-Key")) > keyLimit {
		web.Problem(w, http.StatusBadRequest, "Bad Idempotency-Key", fmt.Sprintf("at most %d bytes are taken", keyLimit))
		return false
	}
	b, err := web.Body(w, r, bodyLimit)
	if err != nil {
		web.BodyProblem(w, err)
		return false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		detail := "the body is not the JSON object that this route takes: " + err.Error()
		if typed := (*json.UnmarshalTypeError)(nil); errors.As(err, &typed) {
			where := "the body"
			if typed.Field != "" {
				where = typed.Field
			}
			detail = fmt.Sprintf("%s is not what this route takes there: it is a JSON %s", where, typed.Value)
		}
		web.Problem(w, http.StatusBadRequest, "Bad body", detail)
		return false
	}
	if d.More() {
		web.Problem(w, http.StatusBadRequest, "Bad body", "more than one JSON value")
		return false
	}
	return true
}

// drafted answers 400 where the contract refuses what the body says.
func drafted(w http.ResponseWriter, draft event.Event, err error) (event.Event, bool) {
	if err != nil {
		web.Problem(w, http.StatusBadRequest, "Bad body", err.Error())
		return event.Event{}, false
	}
	return draft, true
}

// in is the namespace that the body or the query names.
func in(body string, r *http.Request) string {
	if body != "" {
		return body
	}
	return web.Namespace(r)
}

type approvalBody struct {
	Namespace   string `json:"namespace"`
	Model       string `json:"model"`
	Version     int64  `json:"version"`
	Environment string `json:"environment"`
	Verdict     string `json:"verdict"`
	Note        string `json:"note"`
}

// decideApproval records a person's verdict. What was asked for once has one verdict:
// the same one again is answered as the first time, another one is a conflict.
func (e *Edge) decideApproval(w http.ResponseWriter, r *http.Request) {
	var b approvalBody
	if !read(w, r, &b) {
		return
	}
	ctx, ns := r.Context(), in(b.Namespace, r)
	if b.Verdict != "approve" && b.Verdict != "deny" {
		web.Problem(w, http.StatusBadRequest, "Bad body", fmt.Sprintf("verdict is %q; approve or deny is allowed", b.Verdict))
		return
	}
	if len(b.Note) > noteLimit {
		web.Problem(w, http.StatusBadRequest, "Bad body", fmt.Sprintf("a note has at most %d bytes", noteLimit))
		return
	}
	a, err := state.ApprovalOf(ctx, e.log.State(), ns, b.Model, b.Version, b.Environment)
	if errors.Is(err, state.ErrUnknown) {
		e.neverAsked(ctx, w, ns, b)
		return
	}
	if err != nil {
		unreadable(w, err)
		return
	}
	natural := []string{"approval", a.Event}
	given, err := e.verdict(ctx, ns, natural)
	if err != nil {
		unreadable(w, err)
		return
	}
	if given != "" && given != b.Verdict {
		web.Problem(w, http.StatusConflict, "Decided", decided(b, given))
		return
	}
	if a.State != "waiting" {
		if given == "" {
			web.Problem(w, http.StatusConflict, "Nothing waits", fmt.Sprintf("%s %s does not wait for %s any more: it was %s without a person",
				b.Model, state.VersionName(b.Version), b.Environment, a.State))
			return
		}
	}
	note, err := e.note(ctx, b.Note)
	if err != nil {
		web.Problem(w, http.StatusServiceUnavailable, "Not recorded", err.Error())
		return
	}
	var draft event.Event
	if b.Verdict == "approve" {
		draft, err = events.NewApprovalGiven(ns, b.Model, events.ApprovalGiven{Model: b.Model, Version: b.Version, Environment: b.Environment, Note: note})
	} else {
		draft, err = events.NewApprovalDenied(ns, b.Model, events.ApprovalDenied{Model: b.Model, Version: b.Version, Environment: b.Environment, Note: note})
	}
	if draft, ok := drafted(w, draft, err); ok {
		cause := eventlog.Cause{ID: a.Event, Correlation: a.Ripple, Hops: a.Hops}
		e.record(w, r, fact(draft, natural, cause, r), decided(b, given))
	}
}

// verdict is what a person decided of an approval; empty where nobody did.
func (e *Edge) verdict(ctx context.Context, namespace string, natural []string) (string, error) {
	given, err := state.EventOf(ctx, e.log.State(), namespace, eventlog.FactID("console", namespace, natural...))
	switch {
	case errors.Is(err, state.ErrUnknown):
		return "", nil
	case err != nil:
		return "", err
	case given.Type == events.TypeApprovalDenied:
		return "deny", nil
	}
	return "approve", nil
}

// decided says which verdict stands against another, or against the same with another
// note.
func decided(b approvalBody, given string) string {
	became := map[string]string{"approve": "approved for", "deny": "denied for"}[given]
	if became == "" {
		became = "decided on for"
	}
	return fmt.Sprintf("%s was already %s %s", state.VersionName(b.Version), became, b.Environment)
}

// neverAsked answers a verdict on what never waited: 404 where there is no such
// version, 409 where it did not come there.
func (e *Edge) neverAsked(ctx context.Context, w http.ResponseWriter, ns string, b approvalBody) {
	_, known, err := state.VersionPassed(ctx, e.log.State(), ns, b.Model, b.Version)
	switch {
	case err != nil:
		unreadable(w, err)
	case !known:
		web.NotFound(w, "no version %d of model %q in namespace %q", b.Version, b.Model, ns)
	default:
		web.Problem(w, http.StatusConflict, "Nothing waits", fmt.Sprintf("%s %s does not wait for a person for %q",
			b.Model, state.VersionName(b.Version), b.Environment))
	}
}

// note stores a note's words and returns where they are; nil for none.
func (e *Edge) note(ctx context.Context, text string) (*events.Object, error) {
	if text == "" {
		return nil, nil
	}
	ref, err := e.objects.PutBytes(ctx, []byte(text))
	if err != nil {
		return nil, fmt.Errorf("the note cannot be stored: %w", err)
	}
	o := events.ObjectOf(ref.Digest, ref.Size, "text/plain; charset=utf-8")
	return &o, nil
}

type trainingBody struct {
	Namespace string `json:"namespace"`
	Model     string `json:"model"`
}

func (e *Edge) askTraining(w http.ResponseWriter, r *http.Request) {
	var b trainingBody
	if !read(w, r, &b) {
		return
	}
	ns := in(b.Namespace, r)
	draft, err := events.NewTrainingAsked(ns, b.Model, events.TrainingAsked{Model: b.Model})
	draft, ok := drafted(w, draft, err)
	if !ok || !e.modelKnown(w, r, ns, b.Model) {
		return
	}
	e.record(w, r, fact(draft, key(r, "trainings"), eventlog.Cause{}, r), keyConflict)
}

func (e *Edge) modelKnown(w http.ResponseWriter, r *http.Request, ns, model string) bool {
	known, err := state.ModelKnown(r.Context(), e.log.State(), ns, model)
	if err != nil {
		unreadable(w, err)
		return false
	}
	if !known {
		web.NotFound(w, "no model %q in namespace %q", model, ns)
	}
	return known
}

func (e *Edge) environmentKnown(w http.ResponseWriter, r *http.Request, ns, model, environment string) bool {
	known, err := state.Environments(r.Context(), e.log.State(), ns, model)
	if err != nil {
		unreadable(w, err)
		return false
	}
	if len(known) > 0 && !slices.Contains(known, environment) {
		web.NotFound(w, "%s has no environment %q; it has %s", model, environment, strings.Join(known, ", "))
		return false
	}
	return true
}

type rollbackBody struct {
	Namespace   string `json:"namespace"`
	Model       string `json:"model"`
	Environment string `json:"environment"`
	Version     *int64 `json:"version"`
}

func (e *Edge) askRollback(w http.ResponseWriter, r *http.Request) {
	var b rollbackBody
	if !read(w, r, &b) {
		return
	}
	ctx, ns := r.Context(), in(b.Namespace, r)
	draft, err := events.NewRollbackAsked(ns, b.Model, events.RollbackAsked{Model: b.Model, Environment: b.Environment, Version: b.Version})
	draft, ok := drafted(w, draft, err)
	if !ok {
		return
	}
	k := key(r, "rollbacks")
	if known, err := e.known(ctx, ns, k); err != nil {
		unreadable(w, err)
		return
	} else if !known && !e.canRollBack(w, r, ns, b) {
		return
	}
	e.record(w, r, fact(draft, k, eventlog.Cause{}, r), keyConflict)
}

func (e *Edge) canRollBack(w http.ResponseWriter, r *http.Request, ns string, b rollbackBody) bool {
	c, err := state.ChampionOf(r.Context(), e.log.State(), ns, b.Model, b.Environment)
	switch {
	case errors.Is(err, state.ErrUnknown):
		web.NotFound(w, "%q serves no model %q in namespace %q", b.Environment, b.Model, ns)
	case err != nil:
		unreadable(w, err)
	case b.Version == nil && c.Previous == nil:
		web.Problem(w, http.StatusConflict, "Nothing to go back to", fmt.Sprintf("%s is the first champion in %s", state.VersionName(c.Version), b.Environment))
	case b.Version != nil && *b.Version == c.Version:
		web.Problem(w, http.StatusConflict, "Nothing to go back to", fmt.Sprintf("%s serves in %s already", state.VersionName(c.Version), b.Environment))
	case b.Version != nil:
		return e.passed(w, r, ns, b.Model, *b.Version)
	default:
		return true
	}
	return false
}

// passed answers where a version does not exist, or a gate refused it.
func (e *Edge) passed(w http.ResponseWriter, r *http.Request, ns, model string, version int64) bool {
	passed, known, err := state.VersionPassed(r.Context(), e.log.State(), ns, model, version)
	switch {
	case err != nil:
		unreadable(w, err)
	case !known:
		web.NotFound(w, "no version %d of model %q in namespace %q", version, model, ns)
	case !passed:
		web.Problem(w, http.StatusConflict, "Refused", fmt.Sprintf("%s of %s did not pass its gates", state.VersionName(version), model))
	}
	return err == nil && known && passed
}

type promotionBody struct {
	Namespace   string `json:"namespace"`
	Model       string `json:"model"`
	Version     int64  `json:"version"`
	Environment string `json:"environment"`
}

func (e *Edge) askPromotion(w http.ResponseWriter, r *http.Request) {
	var b promotionBody
	if !read(w, r, &b) {
		return
	}
	ctx, ns := r.Context(), in(b.Namespace, r)
	draft, err := events.NewPromotionAsked(ns, b.Model, events.PromotionAsked{Model: b.Model, Version: b.Version, Environment: b.Environment})
	draft, ok := drafted(w, draft, err)
	if !ok {
		return
	}
	k := key(r, "promotions")
	if known, err := e.known(ctx, ns, k); err != nil {
		unreadable(w, err)
		return
	} else if !known {
		if !e.passed(w, r, ns, b.Model, b.Version) || !e.modelKnown(w, r, ns, b.Model) || !e.environmentKnown(w, r, ns, b.Model, b.Environment) {
			return
		}
		if c, err := state.ChampionOf(ctx, e.log.State(), ns, b.Model, b.Environment); err == nil && c.Version == b.Version {
			web.Problem(w, http.StatusConflict, "Already there", fmt.Sprintf("%s serves in %s already", state.VersionName(b.Version), b.Environment))
			return
		}
	}
	e.record(w, r, fact(draft, k, eventlog.Cause{}, r), keyConflict)
}

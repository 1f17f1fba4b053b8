// Package why explains a champion: it walks from the change that made it champion
// back along the causes to the root, and says each step in a sentence.
//
// A cause that begins a ripple of its own (a window that closed, a person's wish)
// does not end the walk while the version's own beginning has not been seen: it goes
// on at the rollout that the events speak of, and then at the version's registration.
package why

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/audit/internal/logread"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

// stepLimit ends a walk that a forged log would make endless.
const stepLimit = 500

// A Step is one event of the explanation.
type Step struct {
	ID       string    `json:"id"`
	Sequence int64     `json:"sequence"`
	Type     string    `json:"type"`
	Subject  string    `json:"subject"`
	Time     time.Time `json:"time"`
	Actor    string    `json:"actor,omitempty"`
	Ripple   string    `json:"ripple"`
	// Via says how this step belongs to the one before it in the list: it caused it
	// ("cause"), was decided together with it ("beside"), or began what it speaks of
	// ("rollout", "version").
	Via  string `json:"via,omitempty"`
	Text string `json:"text"`
	// Contributors are what it rests on beside its cause.
	Contributors []Step `json:"contributors,omitempty"`
}

// An Answer says why a model version serves, newest step first, the root last.
type Answer struct {
	Namespace   string    `json:"namespace"`
	Environment string    `json:"environment"`
	Model       string    `json:"model"`
	Version     int64     `json:"version"`
	Since       time.Time `json:"since"`
	Steps       []Step    `json:"steps"`
}

// Log finds events by sequence and id.
type Log interface {
	Find(ctx context.Context, sequence uint64, id string) (logread.Message, error)
}

// Objects reads notes and hypotheses.
type Objects interface {
	Get(ctx context.Context, digest string, limit int64) ([]byte, error)
}

// Explainer answers.
type Explainer struct {
	index   eventlog.Reader
	log     Log
	codec   eventlog.Codec
	objects Objects
}

// New returns an explainer.
func New(index eventlog.Reader, log Log, codec eventlog.Codec, objects Objects) *Explainer {
	return &Explainer{index: index, log: log, codec: codec, objects: objects}
}

// Champion explains what an environment serves, or served at a time.
func (x *Explainer) Champion(ctx context.Context, namespace, environment, model string, at time.Time) (Answer, error) {
	id, err := state.ChampionChange(ctx, x.index, namespace, model, environment, at)
	if err != nil {
		return Answer{}, err
	}
	w := walk{Explainer: x, namespace: namespace, seen: map[string]bool{}}
	if err := w.from(ctx, id); err != nil {
		return Answer{}, err
	}
	return Answer{Namespace: namespace, Environment: environment, Model: model,
		Version: w.version, Since: w.steps[0].Time, Steps: w.steps}, nil
}

// A walk is one explanation in the making.
type walk struct {
	*Explainer
	namespace string
	seen      map[string]bool
	steps     []Step
	path      []onPath

	// what the events so far speak of, for going on behind a root
	model      string
	version    int64
	rollout    string
	registered bool
}

func (w *walk) from(ctx context.Context, id string) error {
	via := ""
	for id != "" && !w.seen[id] && len(w.steps) < stepLimit {
		entry, e, err := w.read(ctx, id)
		if err != nil {
			return err
		}
		w.note(e)
		if err := w.beside(ctx, e); err != nil {
			return err
		}
		w.path = append(w.path, onPath{len(w.steps), entry, e})
		w.steps = append(w.steps, w.step(ctx, entry, e, via))
		if id, via, err = w.next(ctx, entry); err != nil {
			return err
		}
	}
	// What lies on the path is told there and nowhere else.
	for _, p := range w.path {
		var err error
		if w.steps[p.at].Contributors, err = w.contributors(ctx, p.entry, p.event); err != nil {
			return err
		}
	}
	return nil
}

// onPath is one event of the path from the champion to the root.
type onPath struct {
	at    int // among the steps
	entry state.Entry
	event event.Event
}

// next is the cause; behind a root, the beginning of what the events speak of.
func (w *walk) next(ctx context.Context, entry state.Entry) (id, via string, err error) {
	if entry.Cause != "" {
		return entry.Cause, "cause", nil
	}
	if w.registered {
		return "", "", nil
	}
	for _, l := range []struct{ kind, key string }{{state.Rollout, w.rollout}, {state.Version, state.VersionKey(w.model, w.version)}} {
		id, err := state.Link(ctx, w.index, w.namespace, l.kind, l.key)
		if errors.Is(err, state.ErrUnknown) {
			continue
		}
		if err != nil {
			return "", "", err
		}
		if !w.seen[id] {
			return id, l.kind, nil
		}
	}
	return "", "", nil
}

// beside adds what was decided on a measurement, before the measurement itself.
func (w *walk) beside(ctx context.Context, e event.Event) error {
	if e.Type() != events.TypeCandidateMeasured {
		return nil
	}
	w.registered = true
	decided, err := state.Effects(ctx, w.index, w.namespace, e.ID(),
		events.TypeCandidatePassed, events.TypeModelVersionRegistered)
	if err != nil {
		return err
	}
	slices.Reverse(decided)
	for _, d := range decided {
		if w.seen[d.ID] {
			continue
		}
		entry, e, err := w.read(ctx, d.ID)
		if err != nil {
			return err
		}
		w.steps = append(w.steps, w.step(ctx, entry, e, "beside"))
	}
	return nil
}

// contributors are the events that one lists, and the code that a training names,
// each once in an explanation.
func (w *walk) contributors(ctx context.Context, entry state.Entry, e event.Event) ([]Step, error) {
	ids := slices.Clone(entry.Contributors)
	if e.Type() == events.TypeTrainingRequested {
		p, err := events.Parse[events.TrainingRequested](e)
		if err == nil {
			id, err := state.Link(ctx, w.index, w.namespace, state.Revision, state.RevisionKey(p.Code.Repository, p.Code.Revision))
			if err == nil {
				ids = append(ids, id)
			} else if !errors.Is(err, state.ErrUnknown) {
				return nil, err
			}
		}
	}
	var steps []Step
	for _, id := range ids {
		if w.seen[id] || id == entry.Cause {
			continue
		}
		contributor, ce, err := w.read(ctx, id)
		if errors.Is(err, state.ErrUnknown) {
			continue // listed, but never in this log
		}
		if err != nil {
			return nil, err
		}
		steps = append(steps, w.step(ctx, contributor, ce, ""))
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return int(a.Sequence - b.Sequence) })
	return steps, nil
}

// read fetches an event: its entry from the index, its payload from the log.
func (w *walk) read(ctx context.Context, id string) (state.Entry, event.Event, error) {
	w.seen[id] = true
	entry, err := state.Get(ctx, w.index, w.namespace, id)
	if err != nil {
		return entry, event.Event{}, err
	}
	m, err := w.log.Find(ctx, uint64(entry.Sequence), id)
	if err != nil {
		return entry, event.Event{}, err
	}
	e, err := w.codec.Decode(m.Data)
	return entry, e, err
}

func (w *walk) step(ctx context.Context, entry state.Entry, e event.Event, via string) Step {
	return Step{ID: entry.ID, Sequence: entry.Sequence, Type: entry.Type, Subject: entry.Subject, Time: entry.Time,
		Actor: entry.Actor, Ripple: entry.Ripple, Via: via, Text: w.sentence(ctx, e)}
}

// note remembers what an event speaks of.
func (w *walk) note(e event.Event) {
	switch e.Type() {
	case events.TypeChampionChanged:
		if p, err := events.Parse[events.ChampionChanged](e); err == nil && w.version == 0 {
			w.model, w.version = p.Model, p.Version
		}
	case events.TypeRolloutCompleted:
		if p, err := events.Parse[events.RolloutCompleted](e); err == nil {
			w.rollout = p.Rollout
		}
	case events.TypeModelVersionRegistered:
		w.registered = true
	}
}

// shortType is the last part of a type, as a phrase.
func shortType(typ string) string {
	return strings.ReplaceAll(typ[strings.LastIndexByte(typ, '.')+1:], "_", " ")
}

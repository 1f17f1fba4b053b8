package lineage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

// moves are the types of what is done with a version once it is judged.
var moves = []string{
	events.TypeApprovalRequested, events.TypeApprovalGiven, events.TypeApprovalDenied, events.TypeModelVersionApproved, events.TypeModelVersionDenied,
	events.TypePromotionAsked, events.TypeRolloutStarted, events.TypeReplicaReady, events.TypeReplicaFailed, events.TypeRolloutStepped, events.TypeStepDue,
	events.TypeCanaryJudged, events.TypeRolloutCompleted, events.TypeRolloutRolledBack, events.TypeChampionChanged,
}

// version names a model's version.
type version struct {
	Model   string `json:"model"`
	Version int64  `json:"version"`
}

func (v version) key() string { return state.VersionKey(v.Model, v.Version) }

// versionOf is the version that an event is about; the zero one where it is about none.
func (x *Explainer) versionOf(ctx context.Context, e state.Entry) (version, error) {
	read, err := x.read(ctx, e)
	if errors.Is(err, logread.ErrMissing) {
		return version{}, nil
	}
	if err != nil {
		return version{}, err
	}
	var v version
	if json.Unmarshal(read.Data(), &v) != nil {
		return version{}, nil // of another shape
	}
	return v, nil
}

// moved are the events that approved, denied, rolled out or rolled back a version, up to a
// position of the log, and its registration and its verdict. Cut says that there is more
// than was looked at.
func (x *Explainer) moved(ctx context.Context, namespace string, v version, position int64) (all []state.Entry, cut bool, err error) {
	known := map[string]bool{}
	for _, kind := range []string{state.Version, state.Verdict} {
		id, err := state.Link(ctx, x.index, namespace, kind, v.key())
		if err == nil {
			var e state.Entry
			if e, err = state.Get(ctx, x.index, namespace, id); err == nil {
				all, known[id] = append(all, e), true
				continue
			}
		}
		if !errors.Is(err, state.ErrUnknown) {
			return nil, false, err
		}
	}
	forth := state.Forth(x.index, namespace)
	for level := all; len(level) > 0; {
		effects, more, err := step(ctx, forth, level)
		if err != nil {
			return nil, false, err
		}
		cut = cut || more
		level = level[:0:0]
		for _, n := range effects {
			if known[n.Event.ID] || n.Event.Sequence > position || !slices.Contains(moves, n.Event.Type) {
				continue
			}
			known[n.Event.ID] = true
			is, err := x.versionOf(ctx, n.Event)
			if err != nil {
				return nil, false, err
			}
			// What was done with another version because of this one is not about it. A
			// step's deadline names no version: it is the rollout's.
			if is == v || is == (version{}) {
				level = append(level, n.Event)
			}
		}
		all = append(all, level...)
	}
	return all, cut, nil
}

// stands says where a version serves at a position, and where a person is awaited.
func (x *Explainer) stands(ctx context.Context, namespace string, v version, position int64) ([]Fact, error) {
	rows, err := state.Stood(ctx, x.index, namespace, position, v.Model)
	if err != nil {
		return nil, err
	}
	type standing struct {
		Model       string    `json:"model"`
		Environment string    `json:"environment"`
		Version     int64     `json:"version"`
		Candidate   int64     `json:"candidate"`
		Weight      int64     `json:"weight"`
		Since       time.Time `json:"since"`
	}
	since := map[string]time.Time{}
	var facts []Fact
	for _, kind := range []string{state.Champions, state.Environments, state.Approvals} {
		for _, row := range rows {
			if row.Kind != kind {
				continue
			}
			var s standing
			if err := json.Unmarshal(row.Value, &s); err != nil {
				return nil, fmt.Errorf("%s %s: %w", row.Kind, row.Key, err)
			}
			if s.Model != v.Model {
				continue
			}
			switch {
			case kind == state.Champions && s.Version == v.Version:
				since[s.Environment] = s.Since
			case kind == state.Approvals && s.Version == v.Version:
				facts = append(facts, Fact{What: "approved", Event: row.Event, Text: fmt.Sprintf("not yet for %s: a person is awaited since %s", s.Environment,
					date(s.Since))})
			case kind == state.Environments && s.Version == v.Version:
				text := fmt.Sprintf("%d %% of %s", 100-s.Weight, s.Environment)
				if at, ok := since[s.Environment]; ok {
					text += ", champion since " + date(at)
				}
				facts = append(facts, Fact{What: "serves", Event: row.Event, Text: text})
			case kind == state.Environments && s.Candidate == v.Version && s.Weight > 0:
				facts = append(facts, Fact{What: "serves", Event: row.Event, Text: fmt.Sprintf("%d %% of %s, in its rollout", s.Weight, s.Environment)})
			}
		}
	}
	return facts, nil
}

// Behind returns everything that explanations of versions name, by the events of their
// registration, and what that depends on, in no order: every data commit of their trainings
// with its parents, the code and the views, what was done with them. At most so many
// events; ErrTooMany of state where there are more.
func (x *Explainer) Behind(ctx context.Context, namespace string, registered []state.Entry, most int) ([]state.Entry, error) {
	var starts []state.Entry
	for _, e := range registered {
		v, err := x.versionOf(ctx, e)
		if err != nil {
			return nil, err
		}
		moved, cut, err := x.moved(ctx, namespace, v, math.MaxInt64)
		if err != nil {
			return nil, err
		}
		if cut {
			return nil, state.ErrTooMany
		}
		starts = append(starts, moved...)
	}
	w := newBackward(x, namespace, most, most)
	if err := w.walk(ctx, starts); err != nil {
		return nil, err
	}
	if w.truncated {
		return nil, state.ErrTooMany
	}
	return w.graph.sorted(false), nil
}

package golden_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/cmd/freshet/internal/golden"
	"github.com/freshet-io/freshet/cmd/freshet/internal/whatif"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
)

// trials are those of services that have applied the golden log, and what they were
// given and decided.
type trials struct {
	logs    map[string]*eventlog.Log
	given   []event.Event
	happens map[string]bool
}

func (t *trials) Begin(ctx context.Context, service string, until uint64, instead ...event.Event) (whatif.Trial, error) {
	one, err := t.logs[service].Trial(ctx, until, instead...)
	return trial{one, t}, err
}

type trial struct {
	*eventlog.Trial
	all *trials
}

func (t trial) Step(ctx context.Context, e event.Event, at uint64) (whatif.Step, error) {
	step, err := t.Trial.Step(ctx, e, at)
	t.all.given = append(t.all.given, e)
	t.all.happens[e.ID()] = true
	out := whatif.Step{Decisions: step.Decisions, Waits: step.Waits, Failed: step.Failed}
	for _, d := range step.Decisions {
		t.all.happens[d.ID()] = true
	}
	for _, o := range step.Opened {
		out.Opened = append(out.Opened, whatif.Effect(o))
	}
	return out, err
}

func (t trial) End(ctx context.Context) error { return t.Close(ctx) }

// asked is the golden log, and the services that may be asked what if.
type asked struct {
	log  []event.Event
	spec events.ModelSpec // of the model's last declaration; its rules are those of all
	*trials
}

const model = "flight-delays"

func ask(t *testing.T) *asked {
	t.Helper()
	raw, err := golden.Read(logFile)
	require.NoError(t, err)
	a := &asked{trials: &trials{logs: map[string]*eventlog.Log{}}}
	for _, b := range raw {
		e, err := events.Codec{}.Decode(b)
		require.NoError(t, err)
		a.log = append(a.log, e)
		if e.Type() == events.TypeModelDeclared && e.Subject() == model {
			p, err := events.Parse[events.ModelDeclared](e)
			require.NoError(t, err)
			a.spec = p.Spec
		}
	}
	server, all := open(t), folds(t)
	for _, name := range whatif.Services {
		_, pool := guarded(t, name, nil)
		l, stop := server.run(t, all[name], eventlog.Options{}, pool)
		t.Cleanup(stop)
		a.logs[name] = l
	}
	for name, l := range a.logs {
		require.Eventually(t, func() bool { return l.Status(t.Context()).Position >= server.end }, waitLimit, tick, "%s: %v", name, l.Status(t.Context()))
	}
	return a
}

func (a *asked) recorded(yield func(at uint64, e event.Event) error) error {
	for i, e := range a.log {
		if err := yield(uint64(i+1), e); err != nil { //nolint:gosec // a position of the log
			return err
		}
	}
	return nil
}

// at is where the model's events of a type are in the log.
func (a *asked) at(typ string) (all []int) {
	for i, e := range a.log {
		if e.Type() == typ && named(e).Model == model {
			all = append(all, i+1)
		}
	}
	return all
}

// named is what a payload says first.
func named(e event.Event) (p struct {
	Model, Environment, Kind string
	Version                  int64
}) {
	_ = json.Unmarshal(e.Data(), &p) // what is something else there stays empty
	return p
}

// whatIf asks, and holds what the services were given against what any such log must be.
func (a *asked) whatIf(t *testing.T, from, to int, change func(*events.ModelSpec)) *whatif.Report {
	t.Helper()
	q := whatif.Question{Namespace: "default", Spec: a.spec, From: uint64(from), To: uint64(to), Running: whatif.Services} //nolint:gosec // positions of the log
	// A change must not get into the recorded rules.
	q.Spec.Gates, q.Spec.Environments = slices.Clone(a.spec.Gates), slices.Clone(a.spec.Environments)
	if change != nil {
		change(&q.Spec)
	}
	a.given, a.happens = nil, map[string]bool{}
	r, err := whatif.Simulate(t.Context(), a.trials, a.recorded, q, func(uint64) {})
	require.NoError(t, err)
	a.check(t, from)
	return r
}

// check follows what the services were given: causes and contributors are events that
// happen, and a window is of the version that serves.
func (a *asked) check(t *testing.T, from int) {
	t.Helper()
	there, before, serves := map[string]bool{}, map[string]bool{}, map[string]int64{}
	see := func(e event.Event) {
		if e.Type() == events.TypeRolloutCompleted {
			serves[named(e).Model+" "+named(e).Environment] = named(e).Version
		}
	}
	for i, e := range a.log {
		// Not all are given to somebody: what was decided because of the past stands, and
		// so do ingestion's decisions.
		there[e.ID()] = i < from-1 || a.happens[e.ID()] || events.Channels[e.Type()].Owner == "ingestion" ||
			events.IsDecision(e.Type()) && before[eventlog.Causation(e)]
		if i < from-1 {
			before[e.ID()] = true
			see(e)
		}
	}
	for id := range a.happens {
		there[id] = true
	}
	for _, e := range a.given {
		if cause := eventlog.Causation(e); cause != "" {
			require.True(t, there[cause], "%s %s is because of what does not happen", e.Type(), e.ID())
		}
		var p struct{ Contributors []string }
		require.NoError(t, json.Unmarshal(e.Data(), &p))
		for _, id := range p.Contributors {
			require.True(t, there[id], "%s %s depends on what does not happen", e.Type(), e.ID())
		}
		see(e)
		if n := named(e); e.Type() == events.TypeWindowClosed {
			require.Equal(t, serves[n.Model+" "+n.Environment], n.Version, "%s of %s", n.Kind, n.Environment)
		}
	}
}

func TestWhatIf(t *testing.T) {
	t.Parallel()
	a := ask(t)
	end, declared, measured := len(a.log), a.at(events.TypeModelDeclared)[0], a.at(events.TypeCandidateMeasured)
	first := func(r *whatif.Report) *whatif.Difference {
		for _, b := range r.Branches {
			if b.First != nil {
				return b.First
			}
		}
		return nil
	}
	another := func(r *whatif.Report) (n int) {
		for _, b := range r.Branches {
			if b.First != nil {
				n++
			}
		}
		return n
	}
	types := func(all []whatif.Brief) (out []string) {
		for _, b := range all {
			out = append(out, b.Type)
		}
		return out
	}
	gate := func(cel string) func(*events.ModelSpec) {
		return func(s *events.ModelSpec) { s.Gates[0].CEL = cel }
	}

	t.Run("rules stay, nothing differs", func(t *testing.T) {
		const stride, span = 29, 60 // every kind of event begins a replay, and ends one
		for from := 1; from <= end; from += stride {
			to := min(from+span, end)
			if from == 1 {
				to = end
			}
			r := a.whatIf(t, from, to, nil)
			require.Empty(t, r.Branches, "from %d to %d", from, to)
			require.Nil(t, r.Lost)
			require.Zero(t, r.Dropped+r.Unknown+r.Alike)
		}
	})
	t.Run("nothing passes, so nothing serves", func(t *testing.T) {
		r := a.whatIf(t, declared, end, gate("candidate.auc > naive.auc + 0.5"))
		require.Equal(t, 1, another(r), "later candidates are unknown: they were measured against a champion")
		require.Equal(t, events.TypeCandidateMeasured, first(r).On.Type)
		require.Equal(t, []string{events.TypeCandidatePassed, events.TypeModelVersionApproved}, types(first(r).Then))
		require.Equal(t, []string{events.TypeCandidateRefused}, types(first(r).Instead))
		for _, e := range a.given {
			if named(e).Model == model {
				require.NotContains(t, []string{events.TypeWindowClosed, events.TypeDriftDetected, events.TypeRolloutStarted, events.TypeChampionChanged,
					events.TypeRollbackAsked}, e.Type())
			}
		}
		var text strings.Builder
		require.NoError(t, r.Write(&text))
		require.Contains(t, text.String(), fmt.Sprintf("does not happen: window_closed at %d is about production, where nothing serves\n",
			a.at(events.TypeWindowClosed)[0]))
		require.Equal(t, fmt.Sprintf("candidate_measured at %d was compared with v1, and there is no champion", measured[1]), r.Lost.Why)
		require.Contains(t, text.String(), fmt.Sprintf("the outcome of flight-delays is unknown from %d on, 12 Jan 2001 00:00: %s\n", measured[1], r.Lost.Why))
	})
	t.Run("another version serves", func(t *testing.T) {
		r := a.whatIf(t, a.at(events.TypeWindowClosed)[0], end, gate("false"))
		require.Equal(t, 1, another(r))
		require.EqualValues(t, measured[1], first(r).At)
		require.NotNil(t, r.Lost)
		require.Regexp(t, "^window_closed at [0-9]+ is about v2 in production, where v1 serves$", r.Lost.Why)
	})
	t.Run("another text, the same outcome", func(t *testing.T) {
		r := a.whatIf(t, declared, end, gate("candidate.auc > naive.auc + 0.04"))
		require.Empty(t, r.Branches)
		require.Equal(t, len(measured), r.Alike, "every candidate's verdict")
		var text strings.Builder
		require.NoError(t, r.Write(&text))
		require.Contains(t, text.String(), fmt.Sprintf("no decision differs\n%d decisions quote other rules and decide the same\n", len(measured)))
	})
	t.Run("a training that does not happen only renumbers", func(t *testing.T) {
		r := a.whatIf(t, declared, end, func(s *events.ModelSpec) { s.Retrain.Cooldown = events.Duration(30 * time.Hour) })
		require.Nil(t, r.Lost)
		require.Zero(t, r.Unknown)
		require.Equal(t, len(r.Branches), another(r))
		require.Greater(t, another(r), 1)
		for _, b := range r.Branches {
			require.Equal(t, []string{events.TypeTrainingRequested}, types(b.First.Then))
			require.Equal(t, []string{events.TypeTrainingSkipped}, types(b.First.Instead))
			require.Equal(t, 1, b.Differ)
		}
		newest := func(log []event.Event) (version int64) {
			for _, e := range log {
				if e.Type() == events.TypeRolloutCompleted && named(e).Model == model {
					version = max(version, named(e).Version)
				}
			}
			return version
		}
		require.Less(t, newest(a.given), newest(a.log), "what serves is the same, by another number")
	})
	t.Run("clocks that never struck", func(t *testing.T) {
		r := a.whatIf(t, declared, measured[1], func(s *events.ModelSpec) { s.Retrain.Schedule = "0 3 * * *" })
		require.Equal(t, `its schedule "0 3 * * *" never ran`, r.Lost.Why)
		require.EqualValues(t, declared, r.Lost.At)
		r = a.whatIf(t, declared, measured[1], func(s *events.ModelSpec) { s.Monitor.Window = events.Duration(time.Hour) })
		require.Equal(t, "no window of 1h0m0s was ever closed", r.Lost.Why)
		require.EqualValues(t, a.at(events.TypeRolloutCompleted)[0], r.Lost.At, "where the first version comes to serve")
	})
	t.Run("work that was never done", func(t *testing.T) {
		r := a.whatIf(t, declared, end, func(s *events.ModelSpec) { s.Environments[1].Approve = "auto" })
		require.Equal(t, 1, another(r))
		require.Equal(t, []string{events.TypeApprovalRequested}, types(first(r).Then))
		require.Equal(t, []string{events.TypeModelVersionApproved}, types(first(r).Instead))
		require.Equal(t, "deployment would start work (load) that never ran", r.Lost.Why)
	})
	t.Run("a service that decided does not run", func(t *testing.T) {
		q := whatif.Question{Namespace: "default", Spec: a.spec, From: 1, To: 50, Running: []string{"feature-store", "training", "deployment"}}
		_, err := whatif.Simulate(t.Context(), a.trials, a.recorded, q, func(uint64) {})
		require.EqualError(t, err, "services that made decisions are not running: monitoring, registry. Start them (freshet up, "+
			"with monitoring,registry in --services)")
	})
	t.Run("another namespace's model of the name is another", func(t *testing.T) {
		q := whatif.Question{Namespace: "other", Spec: a.spec, From: 1, To: 50, Running: whatif.Services}
		_, err := whatif.Simulate(t.Context(), a.trials, a.recorded, q, func(uint64) {})
		require.EqualError(t, err, "the model flight-delays is not declared in the log up to 50")
	})
}

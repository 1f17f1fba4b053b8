package whatif

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// An outcome is what becomes of a recorded event under the changed rules. The worst
// outcome of an event's dependencies is the event's own.
type outcome int

const (
	happens outcome = iota
	unknown         // a dependency differs, so the event may be another one
	dropped         // it does not happen
)

func (o outcome) String() string {
	return [...]string{"happens", "differs", "does not happen"}[o]
}

// A replayed event is a recorded one with its outcome.
type replayed struct {
	outcome outcome
	typ     string
}

// A request is what a training was requested for. It says which champion its runs and
// its candidate depend on.
type request struct {
	environment [2]string // the last one of the model: its champion is the model's
	job         bool      // a job of its own, which starts from the champion
}

func (s *simulation) requested(recorded, over event.Event) error {
	var r request
	for w, e := range []event.Event{recorded, over} {
		p, err := events.Parse[events.TrainingRequested](e)
		if err != nil {
			return err
		}
		if n := len(p.Spec.Environments); n > 0 {
			r.environment[w] = p.Spec.Environments[n-1].Environment
		}
		r.job = p.Spec.Training.Builtin == ""
	}
	s.requests[recorded.ID()] = r
	return nil
}

// assess returns the outcome of a recorded event that is not decided again, and the
// reason, where no event before it has the same one.
func (s *simulation) assess(at uint64, e event.Event) (outcome, string) {
	n := namesIn(e)
	worst, because := happens, ""
	for _, id := range s.references(e, n) {
		m, known := s.replayed[id]
		if !known || m.outcome <= worst {
			continue // what was recorded before the rules changed happened
		}
		worst, because = m.outcome, ""
		if id != eventlog.Causation(e) || m.outcome == unknown && !s.isUnknown(n.model) {
			because = fmt.Sprintf("%s at %d depends on %s, which %s", short(e.Type()), at, short(m.typ), m.outcome)
		}
	}
	if worst == dropped {
		return worst, because
	}
	if f, why := s.assessState(e, n); f > worst {
		return f, fmt.Sprintf("%s at %d %s", short(e.Type()), at, why)
	}
	return worst, because
}

// references are the events that an event depends on: its cause, its contributors, every
// other event whose id is in its payload, and the events that registered or started the
// version and the run that it names.
func (s *simulation) references(e event.Event, n names) []string {
	ids := slices.Clone(n.Contributors)
	var fields map[string]any
	if json.Unmarshal(e.Data(), &fields) == nil {
		for _, v := range fields {
			if id, ok := v.(string); ok && id != e.ID() {
				ids = append(ids, id)
			}
		}
	}
	if n.Version != nil && n.View == "" && e.Type() != events.TypeWindowClosed { // of a window, the environment decides
		ids = append(ids, s.versions.id(then, n.model, *n.Version))
	}
	if started := s.runs[n.Run]; started != e.ID() {
		ids = append(ids, started)
	}
	slices.Sort(ids)
	return append([]string{eventlog.Causation(e)}, ids...)
}

// assessState returns a fact's outcome by the state that it depends on: the version that
// an environment serves, a model's champion, a schedule or window of the rules.
func (s *simulation) assessState(e event.Event, n names) (outcome, string) {
	switch e.Type() {
	case events.TypeWindowClosed:
		w, err := events.Parse[events.WindowClosed](e)
		if err != nil {
			return happens, ""
		}
		if f, why := s.assessEnvironment(n, w.From); f != happens {
			return f, why
		}
		every := s.rules.spec.Monitor.Window
		if w.Kind != "traffic" || !s.asked(n.model) || every == s.declared.Spec.Monitor.Window {
			return happens, ""
		}
		return stopped(every == 0), fmt.Sprintf("is about a window of %s", time.Duration(s.declared.Spec.Monitor.Window))
	case events.TypeRollbackAsked:
		return s.assessEnvironment(n, e.Time())
	case events.TypeScheduleTicked:
		schedule := s.rules.spec.Retrain.Schedule
		if !s.asked(n.model) || schedule == s.declared.Spec.Retrain.Schedule {
			return happens, ""
		}
		return stopped(schedule == ""), fmt.Sprintf("is about the schedule %q", s.declared.Spec.Retrain.Schedule)
	case events.TypeCandidateMeasured:
		return s.assessChampion(n, "was compared with")
	case events.TypeRunCompleted:
		if s.requests[n.Request].job {
			return s.assessChampion(n, "started from")
		}
	}
	return happens, ""
}

// stopped is the outcome of what a schedule or window caused that the changed rules remove or change.
func stopped(stops bool) outcome {
	if stops {
		return dropped
	}
	return unknown
}

// assessEnvironment returns the outcome of a fact about an environment since a time.
func (s *simulation) assessEnvironment(n names, since time.Time) (outcome, string) {
	p := s.environments.of(n.model, n.Environment)
	was, is := p.stage[then], p.stage[now]
	switch {
	case p.same(since):
		return happens, ""
	case is.serving == "" && is.rollout == "" && !s.isUnknown(n.model):
		return dropped, fmt.Sprintf("is about %s, where nothing serves", n.Environment)
	case is.serving == "":
		return unknown, fmt.Sprintf("is about %s, where the serving version is unknown", n.Environment)
	case was.serving != is.serving:
		return unknown, fmt.Sprintf("is about %s in %s, where %s serves", s.label(was.serving), n.Environment, s.label(is.serving))
	}
	return unknown, fmt.Sprintf("is about %s, where another rollout was running", n.Environment)
}

func (s *simulation) assessChampion(n names, how string) (outcome, string) {
	r := s.requests[n.Request]
	was := s.environments.of(n.model, r.environment[then]).stage[then].champion
	is := s.environments.of(n.model, r.environment[now]).stage[now].champion
	switch {
	case was == is:
		return happens, ""
	case is == "":
		return unknown, fmt.Sprintf("%s %s, and there is no champion", how, s.label(was))
	}
	return unknown, fmt.Sprintf("%s %s, and the champion is %s", how, s.label(was), s.label(is))
}

// label is a version as people know it.
func (s *simulation) label(id string) string {
	if id == "" {
		return "no version"
	}
	return fmt.Sprintf("v%d", s.versions.numbers[then][id])
}

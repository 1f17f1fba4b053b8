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

// A fate is what becomes of a recorded event under the changed rules. Of what an event
// rests on, the worst decides.
type fate int

const (
	happens fate = iota
	unknown      // nobody knows: something else happens in the stead of what it rests on
	gone         // it does not happen
)

func (f fate) String() string {
	return [...]string{"happens", "goes another way", "does not happen"}[f]
}

// A met event is one of those that were recorded under the changed rules.
type met struct {
	fate fate
	typ  string
}

// A request is what a training was asked for: with which champion its runs and its
// candidate have to do.
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

// judge says what becomes of a recorded event that is not decided again, and, where
// that begins with it, why.
func (s *simulation) judge(at uint64, e event.Event) (fate, string) {
	n := namesIn(e)
	worst, because := happens, ""
	for _, id := range s.references(e, n) {
		m, known := s.met[id]
		if !known || m.fate <= worst {
			continue // what was recorded before the rules changed happened
		}
		worst, because = m.fate, ""
		if id != eventlog.Causation(e) || m.fate == unknown && !s.lost(n.model) {
			because = fmt.Sprintf("%s at %d rests on %s, which %s", short(e.Type()), at, short(m.typ), m.fate)
		}
	}
	if worst == gone {
		return worst, because
	}
	if f, why := s.judgeState(e, n); f > worst {
		return f, fmt.Sprintf("%s at %d %s", short(e.Type()), at, why)
	}
	return worst, because
}

// references are the events that one rests on: its cause, its contributors, whatever
// else in its payload is an event's id, and those behind the version and the run that
// it names.
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

// judgeState judges a fact by what it was seen of or answers to: the traffic of an
// environment, a model's champion, a clock that the rules set.
func (s *simulation) judgeState(e event.Event, n names) (fate, string) {
	switch e.Type() {
	case events.TypeWindowClosed:
		w, err := events.Parse[events.WindowClosed](e)
		if err != nil {
			return happens, ""
		}
		if f, why := s.judgePlace(n, w.From); f != happens {
			return f, why
		}
		every := s.rules.spec.Monitor.Window
		if w.Kind != "traffic" || !s.asked(n.model) || every == s.declared.Spec.Monitor.Window {
			return happens, ""
		}
		return stopped(every == 0), fmt.Sprintf("is of a window of %s", time.Duration(s.declared.Spec.Monitor.Window))
	case events.TypeRollbackAsked:
		return s.judgePlace(n, e.Time())
	case events.TypeScheduleTicked:
		schedule := s.rules.spec.Retrain.Schedule
		if !s.asked(n.model) || schedule == s.declared.Spec.Retrain.Schedule {
			return happens, ""
		}
		return stopped(schedule == ""), fmt.Sprintf("is of the schedule %q", s.declared.Spec.Retrain.Schedule)
	case events.TypeCandidateMeasured:
		return s.judgeChampion(n, "was held against")
	case events.TypeRunCompleted:
		if s.requests[n.Request].job {
			return s.judgeChampion(n, "started from")
		}
	}
	return happens, ""
}

// stopped is the fate of what a clock set that the changed rules stop, or set otherwise.
func stopped(stops bool) fate {
	if stops {
		return gone
	}
	return unknown
}

// judgePlace is of a fact about an environment, as it has been since a time.
func (s *simulation) judgePlace(n names, since time.Time) (fate, string) {
	p := s.places.of(n.model, n.Environment)
	was, is := p.stage[then], p.stage[now]
	switch {
	case p.same(since):
		return happens, ""
	case is.serving == "" && is.rollout == "" && !s.lost(n.model):
		return gone, fmt.Sprintf("is of %s, where nothing serves", n.Environment)
	case is.serving == "":
		return unknown, fmt.Sprintf("is of %s, and nobody knows what serves there", n.Environment)
	case was.serving != is.serving:
		return unknown, fmt.Sprintf("is of %s in %s, where %s serves", s.told(was.serving), n.Environment, s.told(is.serving))
	}
	return unknown, fmt.Sprintf("is of %s, where something else was under way", n.Environment)
}

func (s *simulation) judgeChampion(n names, how string) (fate, string) {
	r := s.requests[n.Request]
	was := s.places.of(n.model, r.environment[then]).stage[then].champion
	is := s.places.of(n.model, r.environment[now]).stage[now].champion
	switch {
	case was == is:
		return happens, ""
	case is == "":
		return unknown, fmt.Sprintf("%s %s, and there is no champion", how, s.told(was))
	}
	return unknown, fmt.Sprintf("%s %s, and the champion is %s", how, s.told(was), s.told(is))
}

// told is a version as people know it.
func (s *simulation) told(id string) string {
	if id == "" {
		return "no version"
	}
	return fmt.Sprintf("v%d", s.versions.numbers[then][id])
}

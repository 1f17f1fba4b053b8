package whatif

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// Services decide by a model's rules, or do what the others decide: they read a model's
// declaration, and decide something.
var Services = readDeclarations()

func readDeclarations() []string {
	var names []string
	for typ, c := range events.Channels {
		if c.Decision && !parks(typ) && slices.Contains(events.Channels[events.TypeModelDeclared].Consumers, c.Owner) {
			names = append(names, c.Owner)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A Question is what is to be replayed.
type Question struct {
	Namespace string
	Spec      events.ModelSpec // with the changed rules
	From, To  uint64           // positions of the log; the rules hold from From on
	Running   []string         // services of the suite
}

// Recorded is the log from its beginning, event by event, at least to where everything
// that was decided up to Question.To is in it. It returns what yield returns.
type Recorded func(yield func(at uint64, e event.Event) error) error

// A simulation is the log's other way.
type simulation struct {
	q      Question
	rules  changedRules
	trials []led

	causes   map[string][]string    // ids of recorded decisions, by cause
	recorded map[string]event.Event // recorded decisions
	over     map[string]event.Event // the same, with the changed rules where they quote rules
	past     map[string]bool        // events before From
	met      map[string]met         // what becomes of the events from From on
	instead  map[string]event.Event // of decisions that are made otherwise, what the others are given

	declared *events.ModelDeclared // as recorded: the rules that held then
	versions *versions
	places   *places
	requests map[string]request
	runs     map[string]string // run_started by run

	report   *Report
	branches map[string]*Branch
	unknowns map[string]bool // models of which something is unknown
}

// led is the trial of a service.
type led struct {
	Trial
	service  string
	consumes map[string]bool
}

// errEnough ends the reading of the log at the last position that was asked for.
var errEnough = errors.New("enough")

// Simulate replays the log. Progress is called after every event.
func Simulate(ctx context.Context, trials Trials, recorded Recorded, q Question, progress func(at uint64)) (_ *Report, err error) {
	rules, err := newRules(q.Namespace, q.Spec)
	if err != nil {
		return nil, err
	}
	v := newVersions()
	s := &simulation{
		q: q, rules: rules, causes: map[string][]string{}, recorded: map[string]event.Event{}, over: map[string]event.Event{},
		past: map[string]bool{}, met: map[string]met{}, instead: map[string]event.Event{}, versions: v, places: &places{v, map[string]*place{}},
		requests: map[string]request{}, runs: map[string]string{}, branches: map[string]*Branch{}, unknowns: map[string]bool{},
		report: &Report{Model: q.Spec.Model, From: q.From, To: q.To},
	}
	declared, err := s.survey(recorded)
	if err != nil {
		return nil, err
	}
	for _, name := range Services {
		if !slices.Contains(q.Running, name) {
			continue
		}
		t, err := trials.Begin(ctx, name, q.From-1, declared...)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, t.End(context.WithoutCancel(ctx))) }()
		consumes := map[string]bool{}
		for _, typ := range t.Consumes() {
			consumes[typ] = true
		}
		s.trials = append(s.trials, led{t, name, consumes})
	}
	err = recorded(func(at uint64, e event.Event) error {
		switch {
		case at < q.From:
			return nil
		case at > q.To:
			return errEnough
		}
		if at == q.From {
			s.clocks(at, e)
		}
		if err := s.replay(ctx, at, e); err != nil {
			return err
		}
		progress(at)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	s.report.finish(s.branches)
	return s.report, nil
}

// survey reads the log once: what was decided because of what, how things stood where
// the rules change, and the model's declaration that holds there, with the rules.
func (s *simulation) survey(recorded Recorded) (declared []event.Event, err error) {
	var before, latest *event.Event
	owners := map[string]bool{}
	err = recorded(func(at uint64, e event.Event) error {
		owners[events.Channels[e.Type()].Owner] = true
		if s.rules.declares(e) && at <= s.q.To {
			latest = &e
			if at < s.q.From {
				before = &e
			}
		}
		s.versions.register(then, e)
		if at < s.q.From {
			s.past[e.ID()] = true
			s.places.follow(then, e)
			s.places.follow(now, e)
			return s.begun(e, e)
		}
		if !events.IsDecision(e.Type()) {
			return nil
		}
		cause := eventlog.Causation(e)
		s.causes[cause] = append(s.causes[cause], e.ID())
		s.recorded[e.ID()] = e
		var err error
		s.over[e.ID()], err = s.rules.over(e)
		return err
	})
	if err != nil {
		return nil, err
	}
	if latest == nil {
		return nil, fmt.Errorf("the model %s is not declared in the log up to %d", s.q.Spec.Model, s.q.To)
	}
	if err := s.complete(owners); err != nil {
		return nil, err
	}
	if s.report.Beyond, err = s.rules.beyond(*latest); err != nil || before == nil {
		return nil, err
	}
	if err := s.declare(*before); err != nil {
		return nil, err
	}
	e, err := s.rules.over(*before)
	return []event.Event{e}, err
}

// complete refuses where a service has decided what cannot be decided again.
func (s *simulation) complete(owners map[string]bool) error {
	var away []string
	for _, name := range Services {
		if owners[name] && !slices.Contains(s.q.Running, name) {
			away = append(away, name)
		}
	}
	switch {
	case len(away) > 0:
		return fmt.Errorf("not running: %s. What was decided there cannot be decided again: start them (freshet up, with %s among --services)",
			strings.Join(away, ", "), strings.Join(away, ","))
	case !slices.ContainsFunc(Services, func(name string) bool { return slices.Contains(s.q.Running, name) }):
		return fmt.Errorf("none of the services that decide by a model's rules runs: %s", strings.Join(Services, ", "))
	}
	return nil
}

func (s *simulation) declare(recorded event.Event) error {
	p, err := events.Parse[events.ModelDeclared](recorded)
	s.declared = &p
	return err
}

// begun remembers what later events name: requests for trainings, and runs.
func (s *simulation) begun(recorded, over event.Event) error {
	switch recorded.Type() {
	case events.TypeTrainingRequested:
		return s.requested(recorded, over)
	case events.TypeRunStarted:
		s.runs[namesIn(recorded).Run] = recorded.ID()
	}
	return nil
}

// asked says whether a model is the one whose rules change.
func (s *simulation) asked(model string) bool { return model == s.q.Namespace+"/"+s.q.Spec.Model }

// replay takes the recorded log's next event.
func (s *simulation) replay(ctx context.Context, at uint64, recorded event.Event) error {
	e, err := s.rules.over(recorded)
	if err != nil {
		return err
	}
	if s.rules.declares(recorded) {
		if err := s.declare(recorded); err != nil {
			return err
		}
	}
	if err := s.begun(recorded, e); err != nil {
		return err
	}
	s.places.follow(then, recorded)
	s.branch(e) // a ripple begins with its first event
	var f fate
	var because string
	again := s.decides(e)
	if again {
		f = s.decided(e)
	} else {
		f, because = s.judge(at, recorded)
	}
	s.met[e.ID()] = met{f, e.Type()}
	d, otherwise := s.instead[e.ID()]
	switch {
	case again && otherwise:
		err = s.deliver(ctx, at, d)
	case f != happens:
		s.leave(at, e, f, because)
	case again:
		err = s.deliver(ctx, at, e)
	default:
		s.report.Kept++
		err = s.deliver(ctx, at, s.versions.renumber(e, then, now))
	}
	if err != nil {
		return err
	}
	s.places.settle(e.Time())
	s.clocks(at, e)
	return nil
}

// decides says whether an event is a decision that is made again.
func (s *simulation) decides(e event.Event) bool {
	return events.IsDecision(e.Type()) && slices.ContainsFunc(s.trials, func(t led) bool { return t.service == events.Channels[e.Type()].Owner })
}

// decided is what became of a decision that is made again, where its cause stands.
func (s *simulation) decided(e event.Event) fate {
	if m, made := s.met[e.ID()]; made {
		return m.fate
	}
	cause := eventlog.Causation(e)
	switch m := s.met[cause]; {
	case s.past[cause]: // so it was decided before the rules changed
		return happens
	case m.fate != happens || isParked(e): // what was set aside is set aside
		return m.fate
	case s.lost(namesIn(e).model):
		return unknown
	}
	return gone
}

// leave leaves a recorded event out.
func (s *simulation) leave(at uint64, e event.Event, f fate, because string) {
	b := s.branch(e)
	if f == gone {
		s.report.Dropped++
		b.Dropped++
	} else {
		s.report.Unknown++
		b.Unknown++
		s.lose(at, e, because)
	}
	if because != "" {
		b.end(End{At: at, Unknown: f == unknown, Why: because})
	}
}

// lost says whether something about a model is unknown.
func (s *simulation) lost(model string) bool { return s.unknowns[model] }

// lose notes that something about an event's model is unknown from there on.
func (s *simulation) lose(at uint64, e event.Event, why string) {
	model := namesIn(e).model
	if model == "" || s.lost(model) {
		return
	}
	if why == "" {
		why = fmt.Sprintf("%s at %d rests on what goes another way", short(e.Type()), at)
	}
	s.unknowns[model] = true
	if s.asked(model) {
		s.report.Lost = &Lost{At: at, Time: e.Time(), Why: why}
	}
}

// clocks looks, where the model is declared or comes to serve, for clocks that the
// changed rules set and that never struck.
func (s *simulation) clocks(at uint64, e event.Event) {
	if s.declared == nil {
		return
	}
	was, is := s.declared.Spec, s.rules.spec
	lose := func(why string) {
		if model := s.q.Namespace + "/" + is.Model; !s.lost(model) {
			s.unknowns[model] = true
			s.report.Lost = &Lost{At: at, Time: e.Time(), Why: why}
		}
	}
	if is.Retrain.Schedule != "" && is.Retrain.Schedule != was.Retrain.Schedule {
		lose(fmt.Sprintf("its schedule %q never ticked", is.Retrain.Schedule))
	}
	if is.Monitor.Window > 0 && is.Monitor.Window != was.Monitor.Window && s.places.serves(s.q.Namespace+"/"+is.Model) {
		lose(fmt.Sprintf("no window of %s was ever closed", time.Duration(is.Monitor.Window)))
	}
}

// deliver gives an event to everybody who consumes it, holds what they decide
// against what was decided then, and delivers at once what nobody decided then.
func (s *simulation) deliver(ctx context.Context, at uint64, e event.Event) error {
	next := []event.Event{e}
	for len(next) > 0 {
		e, next = next[0], next[1:]
		s.places.follow(now, e)
		for _, t := range s.trials {
			if !t.consumes[e.Type()] || events.IsDecision(e.Type()) && events.Channels[e.Type()].Owner == t.service {
				continue
			}
			step, err := t.Step(ctx, e, at)
			if err != nil {
				return err
			}
			next = append(next, s.compare(t.service, at, e, step)...)
		}
	}
	return nil
}

// compare holds a step against what was recorded, and returns the new decisions.
func (s *simulation) compare(service string, at uint64, cause event.Event, st Step) (added []event.Event) {
	difference := Difference{At: at, Service: service, On: brief(s.versions.renumber(cause, now, then)), Failed: st.Failed}
	made := map[string]bool{}
	var others, missing []event.Event // decided otherwise, and not again
	for _, d := range st.Decisions {
		made[d.ID()] = true
		s.report.Compared++
		s.versions.register(now, d)
		was, recorded := s.recorded[d.ID()]
		told := s.versions.renumber(d, now, then)
		if over := s.over[d.ID()]; recorded && alike(over, told) {
			s.met[d.ID()] = met{happens, d.Type()}
			if !sameData(over.Data(), d.Data()) {
				s.instead[d.ID()] = d
			}
			if !sameData(over.Data(), told.Data()) {
				s.report.Alike++
			}
			continue
		}
		difference.Instead = append(difference.Instead, brief(told))
		if recorded {
			difference.Then = append(difference.Then, brief(was))
			others = append(others, d)
		} else {
			added = append(added, d)
		}
	}
	if st.Waits {
		return nil // what it leads to comes once that is answered
	}
	for _, id := range s.causes[cause.ID()] {
		was := s.recorded[id]
		if _, known := s.met[id]; !known && !made[id] && !isParked(was) && events.Channels[was.Type()].Owner == service {
			s.report.Compared++
			difference.Then = append(difference.Then, brief(was))
			missing = append(missing, was)
		}
	}
	differs := slices.Concat(others, missing, added)
	if len(differs) == 0 {
		s.opened(service, at, cause, st)
		return nil
	}
	b := s.branch(cause)
	if s.lost(cmp.Or(namesIn(differs[0]).model, namesIn(cause).model)) {
		// What the service knows is not what it would have known.
		for _, was := range slices.Concat(others, missing) {
			s.met[was.ID()] = met{unknown, was.Type()}
		}
		b.end(End{At: at, Unknown: true, Why: fmt.Sprintf("%s decides on %s at %d by what nobody knows", service, short(cause.Type()), at)})
		return nil
	}
	for _, d := range others {
		s.met[d.ID()] = met{unknown, d.Type()}
		s.instead[d.ID()] = d
	}
	for _, was := range missing {
		s.met[was.ID()] = met{gone, was.Type()}
	}
	if b.First == nil {
		b.First = &difference
	}
	b.Differ++
	if st.Failed != "" {
		s.unknownFrom(at, cause, fmt.Sprintf("%s sets %s at %d aside until somebody answers", service, short(cause.Type()), at))
	}
	s.opened(service, at, cause, st)
	return added
}

// opened notes the work that a step asks for and that was never done.
func (s *simulation) opened(service string, at uint64, cause event.Event, st Step) {
	for _, o := range st.Opened {
		if m, known := s.met[o.Cause]; s.past[o.Cause] || known && m.fate == happens {
			continue
		}
		s.unknownFrom(at, cause, fmt.Sprintf("%s would have work to do (%s) that was never done", service, o.Kind))
	}
}

func (s *simulation) unknownFrom(at uint64, e event.Event, why string) {
	s.branch(e).end(End{At: at, Unknown: true, Why: why})
	s.lose(at, e, why)
}

func (s *simulation) branch(e event.Event) *Branch {
	ripple := eventlog.Correlation(e)
	b := s.branches[ripple]
	if b == nil {
		b = &Branch{Ripple: ripple, Began: e.Time()}
		s.branches[ripple] = b
	}
	return b
}

func isParked(e event.Event) bool { return parks(e.Type()) }

// parks says whether a type is that of a service which could not apply an event: the log
// decides that, for every service.
func parks(typ string) bool { return strings.HasSuffix(typ, ".event_parked") }

// sameData compares payloads as JSON: on their way here the bytes may have changed.
func sameData(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

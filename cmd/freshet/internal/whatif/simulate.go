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

// A simulation replays the log under the changed rules.
type simulation struct {
	q      Question
	rules  changedRules
	trials []serviceTrial

	causes   map[string][]string    // ids of recorded decisions, by cause
	recorded map[string]event.Event // recorded decisions
	over     map[string]event.Event // the same, with the changed rules where they quote rules
	past     map[string]bool        // events before From
	replayed map[string]replayed    // the events from From on
	instead  map[string]event.Event // decisions that differ, as the other services get them

	declared     *events.ModelDeclared // as recorded: the rules that held then
	versions     *versions
	environments *environments
	requests     map[string]request
	runs         map[string]string // run_started by run

	report   *Report
	branches map[string]*Branch
	unknowns map[string]bool // models of which something is unknown
}

// A serviceTrial is the trial of one service.
type serviceTrial struct {
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
		past: map[string]bool{}, replayed: map[string]replayed{}, instead: map[string]event.Event{}, versions: v,
		environments: &environments{v, map[string]*environment{}},
		requests:     map[string]request{}, runs: map[string]string{}, branches: map[string]*Branch{}, unknowns: map[string]bool{},
		report: &Report{Model: q.Spec.Model, From: q.From, To: q.To},
	}
	declared, err := s.scan(recorded)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, t := range s.trials {
			err = errors.Join(err, t.End(context.WithoutCancel(ctx)))
		}
	}()
	for _, name := range Services {
		if !slices.Contains(q.Running, name) {
			continue
		}
		t, err := trials.Begin(ctx, name, q.From-1, declared...)
		if err != nil {
			return nil, err
		}
		consumes := map[string]bool{}
		for _, typ := range t.Consumes() {
			consumes[typ] = true
		}
		s.trials = append(s.trials, serviceTrial{t, name, consumes})
	}
	err = recorded(func(at uint64, e event.Event) error {
		switch {
		case at < q.From:
			return nil
		case at > q.To:
			return errEnough
		}
		if at == q.From {
			s.schedules(at, e)
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

// scan reads the log once: which event caused which decision, the state where the
// rules change, and the model's declaration that holds there, with the rules.
func (s *simulation) scan(recorded Recorded) (declared []event.Event, err error) {
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
			s.environments.follow(then, e)
			s.environments.follow(now, e)
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

// complete refuses a replay for which a service is missing that made decisions.
func (s *simulation) complete(owners map[string]bool) error {
	var missing []string
	for _, name := range Services {
		if owners[name] && !slices.Contains(s.q.Running, name) {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		return fmt.Errorf("services that made decisions are not running: %s. Start them (freshet up, with %s in --services)",
			strings.Join(missing, ", "), strings.Join(missing, ","))
	case !slices.ContainsFunc(Services, func(name string) bool { return slices.Contains(s.q.Running, name) }):
		return fmt.Errorf("no service that decides by a model's rules is running: start one of %s", strings.Join(Services, ", "))
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

// asked reports whether a model is the one whose rules change.
func (s *simulation) asked(model string) bool { return model == s.q.Namespace+"/"+s.q.Spec.Model }

// replay replays the next event of the recorded log.
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
	s.environments.follow(then, recorded)
	s.branch(e) // a ripple begins with its first event
	var f outcome
	var because string
	again := s.decides(e)
	if again {
		f = s.decided(e)
	} else {
		f, because = s.assess(at, recorded)
	}
	s.replayed[e.ID()] = replayed{f, e.Type()}
	d, differs := s.instead[e.ID()]
	switch {
	case again && differs:
		err = s.deliver(ctx, at, d)
	case f != happens:
		s.drop(at, e, f, because)
	case again:
		err = s.deliver(ctx, at, e)
	default:
		s.report.Kept++
		err = s.deliver(ctx, at, s.versions.renumber(e, then, now))
	}
	if err != nil {
		return err
	}
	s.environments.compare(e.Time())
	s.schedules(at, e)
	return nil
}

// decides says whether an event is a decision that is made again.
func (s *simulation) decides(e event.Event) bool {
	return events.IsDecision(e.Type()) && slices.ContainsFunc(s.trials, func(t serviceTrial) bool { return t.service == events.Channels[e.Type()].Owner })
}

// decided is what became of a decision that is made again, where its cause stands.
func (s *simulation) decided(e event.Event) outcome {
	if m, made := s.replayed[e.ID()]; made {
		return m.outcome
	}
	cause := eventlog.Causation(e)
	switch m := s.replayed[cause]; {
	case s.past[cause]: // so it was decided before the rules changed
		return happens
	case m.outcome != happens || isParked(e): // a parked event stays parked
		return m.outcome
	case s.isUnknown(namesIn(e).model):
		return unknown
	}
	return dropped
}

// drop leaves a recorded event out.
func (s *simulation) drop(at uint64, e event.Event, f outcome, because string) {
	b := s.branch(e)
	if f == dropped {
		s.report.Dropped++
		b.Dropped++
	} else {
		s.report.Unknown++
		b.Unknown++
		s.markUnknown(at, e, because)
	}
	if because != "" {
		b.end(End{At: at, Unknown: f == unknown, Why: because})
	}
}

// isUnknown reports whether something about a model is unknown.
func (s *simulation) isUnknown(model string) bool { return s.unknowns[model] }

// markUnknown notes that something about an event's model is unknown from this event on.
func (s *simulation) markUnknown(at uint64, e event.Event, why string) {
	model := namesIn(e).model
	if model == "" || s.isUnknown(model) {
		return
	}
	if why == "" {
		why = fmt.Sprintf("%s at %d depends on an event that differs", short(e.Type()), at)
	}
	s.unknowns[model] = true
	if s.asked(model) {
		s.report.Lost = &Lost{At: at, Time: e.Time(), Why: why}
	}
}

// schedules finds schedules and windows that only the changed rules have, from where the
// model is declared or starts to serve: their events were never recorded.
func (s *simulation) schedules(at uint64, e event.Event) {
	if s.declared == nil {
		return
	}
	was, is := s.declared.Spec, s.rules.spec
	unknownHere := func(why string) {
		if model := s.q.Namespace + "/" + is.Model; !s.isUnknown(model) {
			s.unknowns[model] = true
			s.report.Lost = &Lost{At: at, Time: e.Time(), Why: why}
		}
	}
	if is.Retrain.Schedule != "" && is.Retrain.Schedule != was.Retrain.Schedule {
		unknownHere(fmt.Sprintf("its schedule %q never ran", is.Retrain.Schedule))
	}
	if is.Monitor.Window > 0 && is.Monitor.Window != was.Monitor.Window && s.environments.serves(s.q.Namespace+"/"+is.Model) {
		unknownHere(fmt.Sprintf("no window of %s was ever closed", time.Duration(is.Monitor.Window)))
	}
}

// deliver gives an event to every service that consumes it, compares their decisions
// with the recorded ones, and delivers new decisions at once.
func (s *simulation) deliver(ctx context.Context, at uint64, e event.Event) error {
	next := []event.Event{e}
	for len(next) > 0 {
		e, next = next[0], next[1:]
		s.environments.follow(now, e)
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

// compare compares a step with what was recorded, and returns the new decisions.
func (s *simulation) compare(service string, at uint64, cause event.Event, st Step) (added []event.Event) {
	difference := Difference{At: at, Service: service, On: brief(s.versions.renumber(cause, now, then)), Failed: st.Failed}
	made := map[string]bool{}
	var others, missing []event.Event // decided differently, and not again
	for _, d := range st.Decisions {
		made[d.ID()] = true
		s.report.Compared++
		s.versions.register(now, d)
		was, recorded := s.recorded[d.ID()]
		renumbered := s.versions.renumber(d, now, then)
		if over := s.over[d.ID()]; recorded && alike(over, renumbered) {
			s.replayed[d.ID()] = replayed{happens, d.Type()}
			if !sameData(over.Data(), d.Data()) {
				s.instead[d.ID()] = d
			}
			if !sameData(over.Data(), renumbered.Data()) {
				s.report.Alike++
			}
			continue
		}
		difference.Instead = append(difference.Instead, brief(renumbered))
		if recorded {
			difference.Then = append(difference.Then, brief(was))
			others = append(others, d)
		} else {
			added = append(added, d)
		}
	}
	if st.Waits {
		return nil // its decisions come when the operator has resolved it
	}
	for _, id := range s.causes[cause.ID()] {
		was := s.recorded[id]
		if _, known := s.replayed[id]; !known && !made[id] && !isParked(was) && events.Channels[was.Type()].Owner == service {
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
	if s.isUnknown(cmp.Or(namesIn(differs[0]).model, namesIn(cause).model)) {
		// The state of the service is not the one that it would have had.
		for _, was := range slices.Concat(others, missing) {
			s.replayed[was.ID()] = replayed{unknown, was.Type()}
		}
		b.end(End{At: at, Unknown: true, Why: fmt.Sprintf("%s decides on %s at %d by state that is unknown", service, short(cause.Type()), at)})
		return nil
	}
	for _, d := range others {
		s.replayed[d.ID()] = replayed{unknown, d.Type()}
		s.instead[d.ID()] = d
	}
	for _, was := range missing {
		s.replayed[was.ID()] = replayed{dropped, was.Type()}
	}
	if b.First == nil {
		b.First = &difference
	}
	b.Differ++
	if st.Failed != "" {
		s.unknownFrom(at, cause, fmt.Sprintf("%s parks %s at %d until an operator resolves it", service, short(cause.Type()), at))
	}
	s.opened(service, at, cause, st)
	return added
}

// opened notes the work that a step asks for and that was never done.
func (s *simulation) opened(service string, at uint64, cause event.Event, st Step) {
	for _, o := range st.Opened {
		if m, known := s.replayed[o.Cause]; s.past[o.Cause] || known && m.outcome == happens {
			continue
		}
		s.unknownFrom(at, cause, fmt.Sprintf("%s would start work (%s) that never ran", service, o.Kind))
	}
}

func (s *simulation) unknownFrom(at uint64, e event.Event, why string) {
	s.branch(e).end(End{At: at, Unknown: true, Why: why})
	s.markUnknown(at, e, why)
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

// sameData compares payloads as JSON: encoding and decoding may have changed the bytes.
func sameData(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

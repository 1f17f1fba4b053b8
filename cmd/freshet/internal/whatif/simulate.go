package whatif

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/google/uuid"
)

// services decide by a model's rules, or do what the others decide.
var services = []string{"feature-store", "training", "registry", "deployment", "monitoring"}

// A Question is what is to be replayed.
type Question struct {
	Namespace string
	Spec      events.ModelSpec // with the changed rules
	From, To  uint64           // positions of the log; the rules hold from From on
	Running   []string         // services of the suite
}

// Recorded is the log from its beginning up to Question.To, event by event.
type Recorded func(yield func(at uint64, e event.Event) error) error

// A simulation is the log's other way.
type simulation struct {
	q      Question
	rules  changedRules
	trials []*trial

	then     map[string][]event.Event // recorded decisions by cause, from From on
	facts    map[string]bool          // ids of recorded facts from From on
	happens  map[string]bool          // events from From on that still happen, as they were
	past     map[string]bool          // events before From
	replaced map[string]event.Event   // decisions that are made differently, by id
	report   *Report
	branches map[string]*Branch
}

// Simulate replays the log. Progress is called after every event.
func Simulate(ctx context.Context, call Caller, recorded Recorded, q Question, progress func(at uint64)) (_ *Report, err error) {
	rules, err := newRules(q.Spec)
	if err != nil {
		return nil, err
	}
	s := &simulation{
		q: q, rules: rules, then: map[string][]event.Event{}, facts: map[string]bool{}, happens: map[string]bool{}, past: map[string]bool{},
		replaced: map[string]event.Event{}, report: &Report{Model: q.Spec.Model, From: q.From, To: q.To}, branches: map[string]*Branch{},
	}
	declared, err := s.survey(recorded)
	if err != nil {
		return nil, err
	}
	for _, name := range services {
		if !slices.Contains(q.Running, name) {
			continue
		}
		t, err := begin(ctx, call, name, q.From-1)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, t.end(context.WithoutCancel(ctx))) }()
		s.trials = append(s.trials, t)
	}
	if len(s.trials) == 0 {
		return nil, fmt.Errorf("none of the services that decide by a model's rules runs: %s", strings.Join(services, ", "))
	}
	if declared != nil {
		if err := s.declare(ctx, *declared); err != nil {
			return nil, err
		}
	}
	err = recorded(func(at uint64, e event.Event) error {
		if at < q.From {
			return nil
		}
		if err := s.replay(ctx, at, e); err != nil {
			return err
		}
		progress(at)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.report.finish(s.branches)
	return s.report, nil
}

// survey reads the log once: what was decided because of what, and the model's
// last declaration before the rules change.
func (s *simulation) survey(recorded Recorded) (*event.Event, error) {
	var declared, latest *event.Event
	err := recorded(func(at uint64, e event.Event) error {
		if s.declares(e) {
			latest = &e
			if at < s.q.From {
				declared = &e
			}
		}
		switch {
		case at < s.q.From:
			s.past[e.ID()] = true
		case events.IsDecision(e.Type()):
			d, err := s.rules.over(e)
			if err != nil {
				return err
			}
			s.then[eventlog.Causation(d)] = append(s.then[eventlog.Causation(d)], d)
		default:
			s.facts[e.ID()] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if latest == nil {
		return nil, fmt.Errorf("the model %s is not declared in the log up to %d", s.q.Spec.Model, s.q.To)
	}
	s.report.Beyond, err = s.rules.beyond(*latest)
	return declared, err
}

func (s *simulation) declares(e event.Event) bool {
	return e.Type() == events.TypeModelDeclared && e.Subject() == s.q.Spec.Model && eventlog.Namespace(e) == s.q.Namespace
}

// declare lets the rules begin: the model's declaration once more, with them.
func (s *simulation) declare(ctx context.Context, last event.Event) error {
	e, err := s.rules.over(last)
	if err != nil {
		return err
	}
	id := uuid.NewSHA1(uuid.NameSpaceURL, []byte("what-if/"+last.ID()+"/"+s.rules.digest)).String()
	e.SetID(id)
	e.SetExtension("correlationid", id)
	e.SetExtension("causationid", nil)
	p, err := events.Parse[events.ModelDeclared](e)
	if err != nil {
		return err
	}
	p.TrainingChanged = false
	if err := e.SetData(event.ApplicationJSON, p); err != nil {
		return err
	}
	return s.deliver(ctx, s.q.From, e)
}

// replay takes the recorded log's next event.
func (s *simulation) replay(ctx context.Context, at uint64, e event.Event) error {
	e, err := s.rules.over(e)
	if err != nil {
		return err
	}
	cause := eventlog.Causation(e)
	if s.decides(e) {
		// It was decided again where its cause stands; here it reaches the others.
		switch d, changed := s.replaced[e.ID()]; {
		case changed:
			return s.deliver(ctx, at, d)
		case s.happens[e.ID()]:
			return s.deliver(ctx, at, e)
		case s.past[cause]:
			// Its cause stands before the rules changed, so it was decided then.
			s.happens[e.ID()] = true
			return s.deliver(ctx, at, e)
		}
		s.drop(e)
		return nil
	}
	if cause != "" && !s.past[cause] && !s.happens[cause] {
		s.drop(e)
		return nil
	}
	s.happens[e.ID()] = true
	s.report.Kept++
	return s.deliver(ctx, at, e)
}

// decides says whether an event is a decision that is made again.
func (s *simulation) decides(e event.Event) bool {
	return events.IsDecision(e.Type()) && slices.ContainsFunc(s.trials, func(t *trial) bool { return t.service == events.Channels[e.Type()].Owner })
}

func (s *simulation) drop(e event.Event) {
	s.report.Dropped++
	s.branch(e).Dropped++
}

// deliver gives an event to everybody who consumes it, holds what they decide
// against what was decided then, and delivers at once what nobody decided then.
func (s *simulation) deliver(ctx context.Context, at uint64, e event.Event) error {
	next := []event.Event{e}
	for len(next) > 0 {
		e, next = next[0], next[1:]
		for _, t := range s.trials {
			if !t.consumes[e.Type()] || events.IsDecision(e.Type()) && events.Channels[e.Type()].Owner == t.service {
				continue
			}
			step, err := t.try(ctx, e, at)
			if err != nil {
				return err
			}
			next = append(next, s.compare(t.service, at, e, step)...)
		}
	}
	return nil
}

// compare holds a step against what was recorded, and returns the new decisions.
func (s *simulation) compare(service string, at uint64, cause event.Event, st step) (added []event.Event) {
	then := map[string]event.Event{}
	var order []string
	for _, e := range s.then[cause.ID()] {
		if events.Channels[e.Type()].Owner == service && !isParked(e) {
			then[e.ID()] = e
			order = append(order, e.ID())
		}
	}
	difference := Difference{At: at, Service: service, On: brief(cause)}
	differs := false
	for _, d := range st.Decisions {
		was, recorded := then[d.ID()]
		delete(then, d.ID())
		s.report.Compared++
		switch {
		case recorded && sameData(was.Data(), d.Data()) && was.Subject() == d.Subject():
			s.happens[d.ID()] = true
			continue
		case recorded:
			s.replaced[d.ID()] = d
			difference.Then, difference.Instead = append(difference.Then, brief(was)), append(difference.Instead, brief(d))
		default:
			difference.Instead = append(difference.Instead, brief(d))
			added = append(added, d)
		}
		differs = true
	}
	for _, id := range order {
		if was, missing := then[id]; missing {
			s.report.Compared++
			difference.Then = append(difference.Then, brief(was))
			differs = true
		}
	}
	b := s.branch(cause)
	if st.Failed != "" {
		difference.Failed = st.Failed
		differs = true
	}
	if differs && b.First == nil {
		b.First = &difference
	}
	if differs {
		b.Differ++
	}
	for _, o := range st.Opened {
		_, replaced := s.replaced[o.Cause]
		if !s.facts[o.Closes] && !s.past[o.Cause] && !s.happens[o.Cause] || replaced {
			b.Unknown = append(b.Unknown, Unknown{Service: service, Work: o.Kind, Because: o.Cause})
		}
	}
	return added
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

func isParked(e event.Event) bool { return strings.HasSuffix(e.Type(), ".event_parked") }

// sameData compares payloads as JSON: on their way here the bytes may have changed.
func sameData(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

package lineage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
)

// payloads are events by their id.
type payloads = map[string]event.Event

// first returns the payload of the first node of a type.
func first[P any](nodes []Node, from payloads, typ string, parse func(event.Event) (P, error)) (P, bool) {
	for _, n := range nodes {
		if n.Type != typ {
			continue
		}
		if e, ok := from[n.ID]; ok {
			if p, err := parse(e); err == nil {
				return p, true
			}
		}
	}
	var none P
	return none, false
}

// facts are what auditors ask first of a version: its data, code, training set, run,
// gates, who approved it and each step that it was given traffic by. They are of the
// newest version in the explanation: the one that it is about.
func (x *Explainer) facts(ctx context.Context, nodes []Node, from payloads) []Fact {
	f := factsOf{Explainer: x, from: from, facts: []Fact{}}
	var version int64
	if p, ok := first(nodes, from, events.TypeTrainingRequested, events.Parse[events.TrainingRequested]); ok {
		f.revision = p.Code.Revision
	}
	if p, ok := first(nodes, from, events.TypeModelVersionRegistered, events.Parse[events.ModelVersionRegistered]); ok {
		version = p.Version
	}
	told := slices.Clone(nodes)
	slices.Reverse(told) // in the order in which it happened
	for _, n := range told {
		if e, ok := from[n.ID]; ok {
			f.of(ctx, n, e, version)
		}
	}
	slices.SortStableFunc(f.facts, func(a, b Fact) int { return slices.Index(order, a.What) - slices.Index(order, b.What) })
	return f.facts
}

var order = []string{"alert", "because of", "data", "code", "features", "training set", "run", "measured", "gate", "approved", "traffic"}

type factsOf struct {
	*Explainer
	from     payloads
	facts    []Fact
	revision string // that the training ran
}

func (f *factsOf) add(n Node, what, format string, args ...any) {
	f.facts = append(f.facts, Fact{What: what, Text: fmt.Sprintf(format, args...), Event: n.ID})
}

func (f *factsOf) of(ctx context.Context, n Node, e event.Event, version int64) {
	switch e.Type() {
	case events.TypeAlertRaised:
		fact(e, events.Parse[events.AlertRaised], func(p events.AlertRaised) {
			f.add(n, "alert", "%s of %s in %s at %s: %s", p.Name, p.Model, p.Environment, date(n.Time), values(p.Values))
		})
	case events.TypeTrainingRequested:
		fact(e, events.Parse[events.TrainingRequested], func(p events.TrainingRequested) {
			f.add(n, "because of", "%s, at %s", p.Trigger, date(n.Time))
			for _, d := range p.Data {
				f.facts = append(f.facts, Fact{What: "data", Event: d.Event,
					Text: fmt.Sprintf("commits 1 to %d of %s; the last is %s", d.Number, d.Dataset, short(d.Commit))})
			}
		})
	case events.TypeCodeCommitted:
		fact(e, events.Parse[events.CodeCommitted], func(p events.CodeCommitted) {
			if p.Revision == f.revision || f.revision == "" { // another one only declared views
				f.add(n, "code", "%s of %s, branch %s%s", short(p.Revision), p.Repository, p.Branch, f.quote(ctx, p.Hypothesis))
			}
		})
	case events.TypeFeatureViewDeclared:
		fact(e, events.Parse[events.FeatureViewDeclared], func(p events.FeatureViewDeclared) {
			f.add(n, "features", "%s@%d, declared %s", p.View, p.Version, date(n.Time))
		})
	case events.TypeTrainingSetBuilt:
		fact(e, events.Parse[events.TrainingSetBuilt], func(p events.TrainingSetBuilt) {
			parts := make([]string, len(p.Splits))
			for i, s := range p.Splits {
				parts[i] = s.Name + " " + count(s.Rows)
			}
			f.add(n, "training set", "%s: %s rows", p.TrainingSet, strings.Join(parts, ", "))
		})
	case events.TypeRunCompleted:
		fact(e, events.Parse[events.RunCompleted], func(p events.RunCompleted) { f.add(n, "run", "%s, %.1f s", p.Run, p.Seconds) })
	case events.TypeRunFailed:
		fact(e, events.Parse[events.RunFailed], func(p events.RunFailed) {
			f.add(n, "run", "%s failed: %s", p.Run, strings.ReplaceAll(p.Reason, "_", " "))
		})
	case events.TypeCandidateMeasured:
		fact(e, events.Parse[events.CandidateMeasured], func(p events.CandidateMeasured) {
			f.add(n, "measured", "%s on %s rows of %s to %s", values(p.Candidate.Metrics), count(p.Rows), date(p.From), date(p.To))
		})
	default:
		f.decided(ctx, n, e, version)
	}
}

// decided tells what was decided of the version that is explained.
func (f *factsOf) decided(ctx context.Context, n Node, e event.Event, version int64) {
	switch e.Type() {
	case events.TypeCandidatePassed:
		fact(e, events.Parse[events.CandidatePassed], func(p events.CandidatePassed) { f.gates(n, p.Gates) })
	case events.TypeCandidateRefused:
		fact(e, events.Parse[events.CandidateRefused], func(p events.CandidateRefused) { f.gates(n, p.Gates) })
	case events.TypeModelVersionApproved:
		fact(e, events.Parse[events.ModelVersionApproved], func(p events.ModelVersionApproved) {
			if p.By == "rule" && p.Version == version {
				f.add(n, "approved", "for %s by its rule, at %s", p.Environment, date(n.Time))
			}
		})
	case events.TypeApprovalGiven:
		fact(e, events.Parse[events.ApprovalGiven], func(p events.ApprovalGiven) {
			if p.Version == version {
				f.add(n, "approved", "for %s by %s, at %s%s", p.Environment, who(e), date(n.Time), f.quote(ctx, p.Note))
			}
		})
	case events.TypeRolloutStepped:
		fact(e, events.Parse[events.RolloutStepped], func(p events.RolloutStepped) {
			f.add(n, "traffic", "%d %% of %s to v%d from %s on", p.Weight, p.Environment, p.Version, date(n.Time))
		})
	case events.TypeRolloutCompleted:
		fact(e, events.Parse[events.RolloutCompleted], func(p events.RolloutCompleted) {
			f.add(n, "traffic", "100 %% of %s to v%d from %s on", p.Environment, p.Version, date(n.Time))
		})
	case events.TypeRolloutRolledBack:
		fact(e, events.Parse[events.RolloutRolledBack], func(p events.RolloutRolledBack) {
			f.add(n, "traffic", "0 %% of %s to v%d from %s on: %s", p.Environment, p.Version, date(n.Time), strings.ReplaceAll(p.Reason, "_", " "))
		})
	}
}

func (f *factsOf) gates(n Node, results []events.GateResult) {
	for _, g := range results {
		verdict := "passed"
		if !g.Passed {
			verdict = "refused"
		}
		f.add(n, "gate", "%s %s: %s, with %s", g.Name, verdict, g.CEL, values(g.Values))
	}
}

// fact gives a payload to fn where it can be read.
func fact[P any](e event.Event, parse func(event.Event) (P, error), fn func(P)) {
	if p, err := parse(e); err == nil {
		fn(p)
	}
}

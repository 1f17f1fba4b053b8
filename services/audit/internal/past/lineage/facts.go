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
// gates, who approved it, each step that it was given traffic by and where it stands.
// They are of the version that is asked about, else of the newest one in the
// explanation: the one that it is about.
func (x *Explainer) facts(ctx context.Context, a Answer, from payloads, version int64) []Fact {
	f := factsOf{Explainer: x, from: from, facts: []Fact{}, version: version}
	for _, n := range a.Nodes {
		e, ok := from[n.ID]
		if !ok || n.Type != events.TypeModelVersionRegistered {
			continue
		}
		if p, err := events.Parse[events.ModelVersionRegistered](e); err == nil && (version == 0 || p.Version == version) {
			f.version, f.madeOf = p.Version, a.behind(n.ID)
			break
		}
	}
	nodes := slices.DeleteFunc(slices.Clone(a.Nodes), func(n Node) bool { return f.madeOf != nil && making[n.Type] && !f.madeOf[n.ID] })
	if p, ok := first(nodes, from, events.TypeTrainingRequested, events.Parse[events.TrainingRequested]); ok {
		f.revision = p.Code.Revision
	}
	slices.Reverse(nodes) // in the order in which it happened
	for _, n := range nodes {
		if e, ok := from[n.ID]; ok {
			f.of(ctx, n, e)
		}
	}
	return f.facts
}

// making are the types of what a version is made by: they tell of it only where it rests
// on them. What is told of a rollback may have the making of another version in it.
var making = map[string]bool{
	events.TypeTrainingRequested: true, events.TypeCodeCommitted: true, events.TypeFeatureViewDeclared: true, events.TypeTrainingSetBuilt: true,
	events.TypeRunCompleted: true, events.TypeRunFailed: true, events.TypeCandidateMeasured: true,
}

// behind are the events of an answer that one of them depends on.
func (a Answer) behind(id string) map[string]bool {
	causes := map[string][]string{}
	for _, e := range a.Edges {
		causes[e.Effect] = append(causes[e.Effect], e.Cause)
	}
	seen := map[string]bool{id: true}
	for next := []string{id}; len(next) > 0; next = next[1:] {
		for _, c := range causes[next[0]] {
			if !seen[c] {
				seen[c] = true
				next = append(next, c)
			}
		}
	}
	return seen
}

// inOrder are facts as people ask for them.
func inOrder(facts []Fact) []Fact {
	slices.SortStableFunc(facts, func(a, b Fact) int { return slices.Index(order, a.What) - slices.Index(order, b.What) })
	return facts
}

var order = []string{"alert", "because of", "data", "code", "features", "training set", "run", "measured", "gate", "approved", "traffic", "serves"}

type factsOf struct {
	*Explainer
	from     payloads
	facts    []Fact
	version  int64           // that it is about; 0 if unknown
	madeOf   map[string]bool // events that its registration depends on; nil if unknown
	revision string          // that the training ran
}

func (f *factsOf) add(n Node, what, format string, args ...any) {
	f.facts = append(f.facts, Fact{What: what, Text: fmt.Sprintf(format, args...), Event: n.ID})
}

func (f *factsOf) of(ctx context.Context, n Node, e event.Event) {
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
		f.decided(ctx, n, e)
	}
}

// decided tells what was decided of the version that is explained, and of no other.
func (f *factsOf) decided(ctx context.Context, n Node, e event.Event) {
	is := func(version int64) bool { return f.version == 0 || version == f.version }
	switch e.Type() {
	case events.TypeCandidatePassed:
		fact(e, events.Parse[events.CandidatePassed], func(p events.CandidatePassed) {
			if is(p.Version) {
				f.gates(n, p.Gates)
			}
		})
	case events.TypeCandidateRefused:
		fact(e, events.Parse[events.CandidateRefused], func(p events.CandidateRefused) {
			if is(p.Version) {
				f.gates(n, p.Gates)
			}
		})
	case events.TypeModelVersionApproved:
		fact(e, events.Parse[events.ModelVersionApproved], func(p events.ModelVersionApproved) {
			if p.By == "rule" && is(p.Version) {
				f.add(n, "approved", "for %s by its rule, at %s", p.Environment, date(n.Time))
			}
		})
	case events.TypeApprovalGiven:
		fact(e, events.Parse[events.ApprovalGiven], func(p events.ApprovalGiven) {
			if is(p.Version) {
				f.add(n, "approved", "for %s by %s, at %s%s", p.Environment, who(e), date(n.Time), f.quote(ctx, p.Note))
			}
		})
	case events.TypeApprovalDenied:
		fact(e, events.Parse[events.ApprovalDenied], func(p events.ApprovalDenied) {
			if is(p.Version) {
				f.add(n, "approved", "not for %s, by %s, at %s%s", p.Environment, who(e), date(n.Time), f.quote(ctx, p.Note))
			}
		})
	default:
		f.traffic(n, e, is)
	}
}

// traffic tells of each step of a rollout.
func (f *factsOf) traffic(n Node, e event.Event, is func(version int64) bool) {
	switch e.Type() {
	case events.TypeRolloutStepped:
		fact(e, events.Parse[events.RolloutStepped], func(p events.RolloutStepped) {
			if is(p.Version) {
				f.add(n, "traffic", "%d %% of %s to v%d from %s on", p.Weight, p.Environment, p.Version, date(n.Time))
			}
		})
	case events.TypeRolloutCompleted:
		fact(e, events.Parse[events.RolloutCompleted], func(p events.RolloutCompleted) {
			if is(p.Version) {
				f.add(n, "traffic", "100 %% of %s to v%d from %s on", p.Environment, p.Version, date(n.Time))
			}
		})
	case events.TypeRolloutRolledBack:
		fact(e, events.Parse[events.RolloutRolledBack], func(p events.RolloutRolledBack) {
			if is(p.Version) {
				f.add(n, "traffic", "0 %% of %s to v%d from %s on: %s", p.Environment, p.Version, date(n.Time), strings.ReplaceAll(p.Reason, "_", " "))
			}
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

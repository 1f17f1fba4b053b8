package lineage

import (
	"context"
	"slices"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

// through is the edge between two events that are told with some between them that are
// not.
const through = "through"

// Impact tells what came of the event that a name stands for: everything that it caused or
// that depends on it, however far away. At most limit events are shown, the most important; all
// that were found are counted.
func (x *Explainer) Impact(ctx context.Context, namespace, name string, position int64, limit int) (Answer, error) {
	of, start, err := x.start(ctx, namespace, name, position)
	if err != nil {
		return Answer{}, err
	}
	g, truncated, err := x.forward(ctx, namespace, start)
	if err != nil {
		return Answer{}, err
	}
	all := g.sorted(false)
	a := Answer{Question: Impact, Namespace: namespace, Asked: name, Kind: of.Kind, Event: start.ID, Facts: []Fact{},
		Counts: map[string]int{}, Found: len(all) - 1, Truncated: truncated}
	for _, e := range all {
		if e.ID != start.ID {
			a.Counts[e.Type]++
		}
	}
	chosen := mostImportant(all, start.ID, limit)
	if a.Nodes, _, err = x.describe(ctx, chosen); err != nil {
		return Answer{}, err
	}
	a.Edges = sortedEdges(contracted(g, all, chosen), a.Nodes)
	a.Title = title(of, nil, nil)
	for _, n := range a.Nodes {
		if n.ID == start.ID {
			a.Title = n.Text
		}
	}
	return a, nil
}

// forward walks from an event to everything that depends on it.
func (x *Explainer) forward(ctx context.Context, namespace string, start state.Entry) (graphOf, bool, error) {
	g, level, truncated := newGraph(), []state.Entry{start}, false
	g.events[start.ID] = &found{Entry: start}
	forth := state.Forth(x.index, namespace)
	for len(level) > 0 && !truncated {
		left := mostEffects - len(g.edges)
		effects, err := forth.Of(ctx, level, left+1)
		if err != nil {
			return g, false, err
		}
		trained, err := x.trained(ctx, namespace, level, left+1)
		if err != nil {
			return g, false, err
		}
		effects = append(effects, trained...)
		if len(effects) > left {
			effects, truncated = effects[:left], true
		}
		level = level[:0:0]
		for _, c := range effects {
			g.edges[c.Edge] = true
			if g.events[c.Event.ID] == nil {
				g.events[c.Event.ID] = &found{Entry: c.Event}
				level = append(level, c.Event)
			}
		}
	}
	return g, truncated, nil
}

// trained are the trainings that had the data commits among events.
func (x *Explainer) trained(ctx context.Context, namespace string, level []state.Entry, limit int) ([]state.Neighbour, error) {
	var commits []string
	for _, e := range level {
		if e.Type == events.TypeDataCommitted {
			commits = append(commits, e.ID)
		}
	}
	if len(commits) == 0 {
		return nil, nil
	}
	return state.TrainedOn(ctx, x.index, namespace, commits, limit)
}

// weights say what is told where not everything can be: what a commit led to before the
// steps between.
var weights = map[string]int{
	events.TypeChampionChanged: 9, events.TypeModelVersionRegistered: 9, events.TypeTrainingSetBuilt: 8,
	events.TypeCandidateRefused: 8, events.TypeCandidatePassed: 8, events.TypeRunFailed: 8, events.TypeAlertRaised: 8,
	events.TypeRolloutRolledBack: 7, events.TypeRolloutCompleted: 7, events.TypeRolloutStarted: 7, events.TypeRunCompleted: 7,
	events.TypeModelVersionApproved: 6, events.TypeModelVersionDenied: 6, events.TypeApprovalGiven: 6, events.TypeApprovalDenied: 6,
	events.TypeDataCommitted: 6, events.TypeDataRejected: 6, events.TypeCodeCommitted: 6, events.TypeModelDeclared: 6,
	events.TypeTrainingRequested: 5, events.TypeFeatureViewDeclared: 5, events.TypeRolloutStepped: 5, events.TypeDriftDetected: 5,
	events.TypeQualityDegraded: 5, events.TypeAlertResolved: 4, events.TypeTrainingSkipped: 3, events.TypeFeatureViewMaterialized: 2,
}

// mostImportant are the events to show, in the log's order.
func mostImportant(all []state.Entry, start string, most int) []state.Entry {
	if len(all) <= most {
		return all
	}
	weight := func(e state.Entry) int {
		if e.ID == start {
			return 100
		}
		return weights[e.Type]
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return weight(all[b]) - weight(all[a]) })
	order = order[:most]
	slices.Sort(order)
	out := make([]state.Entry, most)
	for i, o := range order {
		out[i] = all[o]
	}
	return out
}

// contracted are the edges between chosen events: what lies between two of them and is not
// told becomes one edge. An event that is not told passes on the newest few of what it
// depends on, which keeps the picture readable.
func contracted(g graphOf, all, chosen []state.Entry) map[state.Edge]bool {
	const passed = 3
	told := map[string]bool{}
	for _, e := range chosen {
		told[e.ID] = true
	}
	causes := map[string][]state.Edge{}
	for e := range g.edges {
		causes[e.Effect] = append(causes[e.Effect], e)
	}
	place := map[string]int{}
	for i, e := range all {
		place[e.ID] = i
	}
	edges, nearest := map[state.Edge]bool{}, map[string][]string{}
	for _, e := range all {
		var behind []string
		for _, c := range causes[e.ID] {
			switch {
			case told[c.Cause] && told[e.ID]:
				edges[c] = true
			case told[c.Cause]:
				behind = append(behind, c.Cause)
			default:
				behind = append(behind, nearest[c.Cause]...)
			}
		}
		slices.SortFunc(behind, func(a, b string) int { return place[b] - place[a] })
		behind = slices.Compact(behind)
		behind = behind[:min(len(behind), passed)]
		if !told[e.ID] {
			nearest[e.ID] = behind
			continue
		}
		for _, b := range behind {
			edges[state.Edge{Effect: e.ID, Cause: b, Kind: through}] = true
		}
	}
	return edges
}

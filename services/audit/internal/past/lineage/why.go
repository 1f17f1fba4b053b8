package lineage

import (
	"context"
	"fmt"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

// Why explains the event that a name stands for, back to the roots: the arrivals of data,
// the pushes of code, the people and the clock. position says at which point of the log
// an environment's champion is meant. Of a version, what was done with it up to there is
// told as well: who let it in, where it was rolled out, and how.
func (x *Explainer) Why(ctx context.Context, namespace, name string, position int64) (Answer, error) {
	of, start, err := x.start(ctx, namespace, name, position)
	if err != nil {
		return Answer{}, err
	}
	starts, about, stands, cut := []state.Entry{start}, version{}, []Fact(nil), false
	switch of.Kind {
	case state.Champions, state.Verdict, state.Version:
		if about, err = x.versionOf(ctx, start); err != nil {
			return Answer{}, err
		}
	}
	if of.Kind == state.Verdict || of.Kind == state.Version {
		moved, more, err := x.moved(ctx, namespace, about, position)
		if err != nil {
			return Answer{}, err
		}
		cut = more
		if stands, err = x.stands(ctx, namespace, about, position); err != nil {
			return Answer{}, err
		}
		if len(moved) > 2 && len(stands) == 0 { // more than its registration and its verdict
			stands = []Fact{{What: "serves", Text: "nowhere", Event: start.ID}}
		}
		starts = append(starts, moved...)
	}
	w := newBackward(x, namespace, mostCauses, mostCommits)
	if err := w.walk(ctx, starts); err != nil {
		return Answer{}, err
	}
	nodes, payloads, err := x.describe(ctx, w.graph.sorted(true))
	if err != nil {
		return Answer{}, err
	}
	for i := range nodes {
		nodes[i].More = w.graph.events[nodes[i].ID].more && !w.expanded[nodes[i].ID]
	}
	a := Answer{Question: Why, Namespace: namespace, Asked: name, Kind: of.Kind, Event: start.ID, Nodes: nodes, Found: len(nodes), Truncated: w.truncated || cut}
	a.Edges = sortedEdges(w.graph.edges, nodes)
	a.Title = title(of, nodes, payloads)
	a.Facts = inOrder(append(x.facts(ctx, a, payloads, about.Version), stands...))
	return a, nil
}

func (x *Explainer) start(ctx context.Context, namespace, name string, position int64) (state.Named, state.Entry, error) {
	of, err := state.Resolve(ctx, x.index, namespace, name, position)
	if err != nil {
		return of, state.Entry{}, err
	}
	start, err := state.Get(ctx, x.index, namespace, of.Event)
	return of, start, err
}

// backward walks from an event to what it depends on.
type backward struct {
	*Explainer
	namespace string
	graph     graphOf
	// told: on the way here a training was met. What set it off is told, but not the
	// history of the champion that it was seen of: that is another question.
	told      map[string]bool
	expanded  map[string]bool
	truncated bool

	most, commits int // events, and data commits of one training
}

func newBackward(x *Explainer, namespace string, most, commits int) *backward {
	return &backward{Explainer: x, namespace: namespace, graph: newGraph(), told: map[string]bool{}, expanded: map[string]bool{}, most: most, commits: commits}
}

func (w *backward) walk(ctx context.Context, level []state.Entry) error {
	back := state.Back(w.index, w.namespace)
	for _, e := range level {
		w.graph.events[e.ID] = &found{Entry: e}
		w.meet(e, false)
		w.expanded[e.ID] = true
	}
	for len(level) > 0 && len(w.graph.events) < w.most {
		causes, cut, err := step(ctx, back, level)
		if err != nil {
			return err
		}
		w.truncated = w.truncated || cut
		data, err := w.data(ctx, level)
		if err != nil {
			return err
		}
		var next []state.Entry
		for _, c := range append(causes, data...) {
			if len(w.graph.events) >= w.most && w.graph.events[c.Event.ID] == nil {
				w.truncated = true
				continue
			}
			w.graph.edges[c.Edge] = true
			if w.graph.events[c.Event.ID] == nil {
				w.graph.events[c.Event.ID] = &found{Entry: c.Event}
			}
			told := w.told[c.Edge.Effect]
			w.meet(c.Event, told)
			if w.ends(c, told) {
				w.graph.events[c.Event.ID].more = true
				continue
			}
			if !w.expanded[c.Event.ID] {
				w.expanded[c.Event.ID] = true
				next = append(next, c.Event)
			}
		}
		level = next
	}
	w.truncated = w.truncated || len(level) > 0
	return nil
}

// ends reports whether the walk tells of an event but does not go behind it.
func (w *backward) ends(c state.Neighbour, told bool) bool {
	switch c.Edge.Kind {
	case state.OfChampion:
		return told
	case state.OfData, state.Contributed:
		// What only stood in the training set is named; the way of what set the training
		// off is a cause, and told.
		return c.Event.Type == events.TypeDataCommitted
	}
	return false
}

func (w *backward) meet(e state.Entry, told bool) {
	switch e.Type {
	case events.TypeTrainingRequested, events.TypeCandidateMeasured, events.TypeModelVersionRegistered:
		told = true
	}
	w.told[e.ID] = w.told[e.ID] || told
}

// data are the newest commits that a level's trainings had.
func (w *backward) data(ctx context.Context, level []state.Entry) ([]state.Neighbour, error) {
	var trainings []string
	for _, e := range level {
		if e.Type == events.TypeTrainingRequested {
			trainings = append(trainings, e.ID)
		}
	}
	if len(trainings) == 0 {
		return nil, nil
	}
	uses, err := state.Uses(ctx, w.index, w.namespace, trainings)
	if err != nil {
		return nil, err
	}
	var out []state.Neighbour
	for _, u := range uses {
		commits, err := state.CommitsTo(ctx, w.index, w.namespace, u.Dataset, u.Number, w.commits)
		if err != nil {
			return nil, err
		}
		for _, c := range commits {
			out = append(out, state.Neighbour{Edge: state.Edge{Effect: u.Event, Cause: c.ID, Kind: state.OfData}, Event: c})
		}
	}
	return out, nil
}

// title says in one line what is explained.
func title(of state.Named, nodes []Node, payloads payloads) string {
	if len(nodes) == 0 {
		return of.Name
	}
	if p, ok := first[events.ChampionChanged](nodes, payloads, events.TypeChampionChanged, events.Parse[events.ChampionChanged]); ok &&
		of.Kind == state.Champions {
		return fmt.Sprintf("%s serves %s v%d since %s", p.Environment, p.Model, p.Version, date(nodes[0].Time))
	}
	for _, n := range nodes {
		if n.ID == of.Event {
			return n.Text
		}
	}
	return of.Name
}

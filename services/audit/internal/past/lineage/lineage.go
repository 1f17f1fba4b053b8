// Package lineage answers why something is so, and what came of something. Both are walks
// over the events of the log, along what depends on what: causes, contributors, the code
// and the data of a training, the version that a rollout is about, the champion that an
// alert is about.
//
// # Guarantees
//
// A walk reads the index level by level, and an event's payload only where the answer
// shows it. It is bounded: what does not fit is counted, and the answer says that it is
// not complete.
//
// # How it fails
//
// A name or an id that no event has is refused as unknown. An event that neither the log
// nor the archive has any more is shown by what the index knows of it. Any other error
// of the log ends the walk.
package lineage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

const (
	mostCauses  = 500    // events of one explanation
	mostCommits = 20     // data commits of one training that are told one by one
	mostEffects = 20_000 // events that one walk forward counts
	mostEdges   = 10_000 // that one step of an explanation goes along
	readers     = 16     // payloads read from the log at once
	remembered  = 4096   // payloads read before
)

// Questions.
const (
	Why    = "why"
	Impact = "impact"
)

// A Node is one event of an answer.
type Node struct {
	ID       string    `json:"id"`
	Sequence int64     `json:"sequence"` // in the log
	Type     string    `json:"type"`
	Subject  string    `json:"subject"`
	Time     time.Time `json:"time"`
	Actor    string    `json:"actor,omitempty"`
	Ripple   string    `json:"ripple"`
	Text     string    `json:"text"`
	// More says that the walk ended here by choice: ask about this event to continue.
	More bool `json:"more,omitempty"`
}

// A Fact is one thing that people ask for first.
type Fact struct {
	What  string `json:"what"`
	Text  string `json:"text"`
	Event string `json:"event"`
}

// An Answer is a graph of events: for why, the asked one and everything it depends on, the
// newest first; for impact, the asked one and what depends on it, the oldest first.
type Answer struct {
	Question  string       `json:"question"` // why or impact
	Namespace string       `json:"namespace"`
	Asked     string       `json:"asked"`
	Kind      string       `json:"kind"`  // of what was asked about
	Event     string       `json:"event"` // that it stands for
	Title     string       `json:"title"`
	Facts     []Fact       `json:"facts"`
	Nodes     []Node       `json:"nodes"`
	Edges     []state.Edge `json:"edges"`
	// Counts are of all events that were found, by type; Found is their sum.
	Counts map[string]int `json:"counts,omitempty"`
	Found  int            `json:"found"`
	// Truncated says that there is more than was found.
	Truncated bool `json:"truncated,omitempty"`
}

// Began is where in the log the event is that the question stands for; 0 where it was
// not told.
func (a Answer) Began() int64 {
	for _, n := range a.Nodes {
		if n.ID == a.Event {
			return n.Sequence
		}
	}
	return 0
}

// Log finds events by sequence and id.
type Log interface {
	Find(ctx context.Context, sequence uint64, id string) (logread.Message, error)
}

// Objects reads notes and hypotheses.
type Objects interface {
	Get(ctx context.Context, digest string, limit int64) ([]byte, error)
}

// Explainer answers.
type Explainer struct {
	index   eventlog.Reader
	log     Log
	codec   eventlog.Codec
	objects Objects

	mu   sync.Mutex
	seen map[string]event.Event // by namespace and id: an event never changes
}

// New returns an explainer.
func New(index eventlog.Reader, log Log, codec eventlog.Codec, objects Objects) *Explainer {
	return &Explainer{index: index, log: log, codec: codec, objects: objects, seen: map[string]event.Event{}}
}

// describe reads the payloads of nodes and puts them into words. An event that neither the
// log nor the archive has is named by what the index knows of it.
func (x *Explainer) describe(ctx context.Context, entries []state.Entry) ([]Node, map[string]event.Event, error) {
	nodes := make([]Node, len(entries))
	payloads := make(map[string]event.Event, len(entries))
	errs := make([]error, len(entries))
	var mu sync.Mutex
	var all sync.WaitGroup
	next := make(chan int)
	for range min(readers, len(entries)) {
		all.Go(func() {
			for i := range next {
				n := entries[i]
				nodes[i] = Node{ID: n.ID, Sequence: n.Sequence, Type: n.Type, Subject: n.Subject, Time: n.Time, Actor: n.Actor, Ripple: n.Ripple}
				e, err := x.read(ctx, n)
				if errors.Is(err, logread.ErrMissing) {
					nodes[i].Text = shortType(n.Type) + " (" + n.Subject + "); neither the log nor an archive has it any more"
					continue
				}
				if err != nil {
					errs[i] = err
					continue
				}
				nodes[i].Text = x.sentence(ctx, e)
				mu.Lock()
				payloads[n.ID] = e
				mu.Unlock()
			}
		})
	}
	for i := range entries {
		next <- i
	}
	close(next)
	all.Wait()
	return nodes, payloads, errors.Join(errs...)
}

func (x *Explainer) read(ctx context.Context, n state.Entry) (event.Event, error) {
	key := n.Namespace + "/" + n.ID
	x.mu.Lock()
	e, ok := x.seen[key]
	x.mu.Unlock()
	if ok {
		return e, nil
	}
	m, err := x.log.Find(ctx, uint64(n.Sequence), n.ID) //nolint:gosec // a sequence of the log
	if err != nil {
		return event.Event{}, err
	}
	if e, err = x.codec.Decode(m.Data); err != nil {
		return e, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.seen) >= remembered {
		clear(x.seen)
	}
	x.seen[key] = e
	return e, nil
}

// step returns the neighbours of events, and whether there are more than one step goes to.
func step(ctx context.Context, edges *state.Edges, of []state.Entry) (all []state.Neighbour, cut bool, err error) {
	all, err = edges.Of(ctx, of, mostEdges+1)
	return all[:min(len(all), mostEdges)], len(all) > mostEdges, err
}

// A found event, and its place in a walk.
type found struct {
	state.Entry
	more bool
}

// graphOf are a walk's events and edges.
type graphOf struct {
	events map[string]*found
	edges  map[state.Edge]bool
}

func newGraph() graphOf {
	return graphOf{events: map[string]*found{}, edges: map[state.Edge]bool{}}
}

// sorted returns the events in the log's order, or newest first.
func (g graphOf) sorted(newest bool) []state.Entry {
	out := make([]state.Entry, 0, len(g.events))
	for _, f := range g.events {
		out = append(out, f.Entry)
	}
	slices.SortFunc(out, func(a, b state.Entry) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), strings.Compare(a.ID, b.ID))
	})
	if newest {
		slices.Reverse(out)
	}
	return out
}

// sortedEdges are the edges, in the order of the nodes of their effects.
func sortedEdges(edges map[state.Edge]bool, nodes []Node) []state.Edge {
	place := make(map[string]int, len(nodes))
	for i, n := range nodes {
		place[n.ID] = i
	}
	out := make([]state.Edge, 0, len(edges))
	for e := range edges {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b state.Edge) int {
		return cmp.Or(cmp.Compare(place[a.Effect], place[b.Effect]), cmp.Compare(place[a.Cause], place[b.Cause]), strings.Compare(a.Kind, b.Kind))
	})
	return out
}

// shortType is the last part of a type, as a phrase.
func shortType(typ string) string {
	return strings.ReplaceAll(typ[strings.LastIndexByte(typ, '.')+1:], "_", " ")
}

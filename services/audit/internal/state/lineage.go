package state

import (
	"context"
	"slices"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

// An Edge says that one event depends on an earlier one, and how.
type Edge struct {
	Effect string `json:"effect"`
	Cause  string `json:"cause"`
	Kind   string `json:"kind"`
}

// A Neighbour is what an edge leads to.
type Neighbour struct {
	Edge  Edge
	Event Entry // the cause, asked for causes; the effect, asked for effects
}

const entryColumns = `v.sequence, v.id, v.type, v.source, v.subject, v.namespace, v.correlation, v.causation,
	v.source_sequence, v.hops, v.actor, v.time, v.contributors`

// mostAtOnce edges are read of whole ripples. A walk stays in a ripple for most of its
// way, so that it needs a few queries and not one for each step.
const mostAtOnce = 5000

const (
	causesSQL = `SELECT e.effect, e.cause, e.kind, ` + entryColumns + ` FROM edges e
	JOIN events v ON v.namespace = e.namespace AND v.id = e.cause
	WHERE e.namespace = $1 AND e.effect = ANY($2) ORDER BY v.sequence DESC, v.id, e.effect, e.kind LIMIT $3`
	effectsSQL = `SELECT e.effect, e.cause, e.kind, ` + entryColumns + ` FROM edges e
	JOIN events v ON v.namespace = e.namespace AND v.id = e.effect
	WHERE e.namespace = $1 AND e.cause = ANY($2) ORDER BY v.sequence, v.id, e.cause, e.kind LIMIT $3`
	rippleCausesSQL = `SELECT e.effect, e.cause, e.kind, ` + entryColumns + ` FROM events f
	JOIN edges e ON e.namespace = f.namespace AND e.effect = f.id
	JOIN events v ON v.namespace = e.namespace AND v.id = e.cause
	WHERE f.namespace = $1 AND f.correlation = ANY($2) ORDER BY v.sequence DESC, v.id, e.effect, e.kind LIMIT $3`
	rippleEffectsSQL = `SELECT e.effect, e.cause, e.kind, ` + entryColumns + ` FROM events f
	JOIN edges e ON e.namespace = f.namespace AND e.cause = f.id
	JOIN events v ON v.namespace = e.namespace AND v.id = e.effect
	WHERE f.namespace = $1 AND f.correlation = ANY($2) ORDER BY v.sequence, v.id, e.cause, e.kind LIMIT $3`
)

const (
	entriesSQL  = `SELECT ` + columns + ` FROM events WHERE namespace = $1 AND id = ANY($2)`
	verdictsSQL = `SELECT ` + entryColumns + ` FROM edges e JOIN events v ON v.namespace = e.namespace AND v.id = e.effect
		WHERE e.namespace = $1 AND e.cause = ANY($2) AND e.kind = 'cause' AND v.type = ANY($3)`
)

// Edges reads edges for one walk, and remembers those of the ripples that it was in.
type Edges struct {
	r         eventlog.Reader
	namespace string
	forward   bool
	ripples   map[string]bool // read; false: too large to be read at once
	edges     map[string][]Neighbour
}

// Back returns a reader of what events rest on.
func Back(r eventlog.Reader, namespace string) *Edges {
	return &Edges{r: r, namespace: namespace, ripples: map[string]bool{}, edges: map[string][]Neighbour{}}
}

// Forth returns a reader of what depends on events.
func Forth(r eventlog.Reader, namespace string) *Edges {
	l := Back(r, namespace)
	l.forward = true
	return l
}

// Of returns the neighbours of events, at most so many.
func (l *Edges) Of(ctx context.Context, of []Entry, limit int) ([]Neighbour, error) {
	var unmet []string
	for _, e := range of {
		if _, met := l.ripples[e.Ripple]; !met && !slices.Contains(unmet, e.Ripple) {
			unmet = append(unmet, e.Ripple)
		}
	}
	if err := l.load(ctx, unmet); err != nil {
		return nil, err
	}
	var alone []string
	var out []Neighbour
	for _, e := range of {
		if l.ripples[e.Ripple] {
			out = append(out, l.edges[e.ID]...)
		} else {
			alone = append(alone, e.ID)
		}
	}
	if len(alone) > 0 {
		sql := causesSQL
		if l.forward {
			sql = effectsSQL
		}
		more, err := neighbours(ctx, l.r, sql, l.namespace, alone, limit)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out[:min(len(out), limit)], nil
}

// load reads ripples whole; where that is too much, one by one, and one that alone is
// too much is read event by event.
func (l *Edges) load(ctx context.Context, ripples []string) error {
	if len(ripples) == 0 {
		return nil
	}
	sql := rippleCausesSQL
	if l.forward {
		sql = rippleEffectsSQL
	}
	read, err := neighbours(ctx, l.r, sql, l.namespace, ripples, mostAtOnce+1)
	if err != nil {
		return err
	}
	if len(read) > mostAtOnce {
		if len(ripples) == 1 {
			l.ripples[ripples[0]] = false
			return nil
		}
		for i := range ripples {
			if err := l.load(ctx, ripples[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, ripple := range ripples {
		l.ripples[ripple] = true
	}
	for _, n := range read {
		from := n.Edge.Effect
		if l.forward {
			from = n.Edge.Cause
		}
		l.edges[from] = append(l.edges[from], n)
	}
	return nil
}

func neighbours(ctx context.Context, r eventlog.Reader, sql string, args ...any) ([]Neighbour, error) {
	rows, err := r.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Neighbour, error) {
		var n Neighbour
		e := &n.Event
		err := row.Scan(&n.Edge.Effect, &n.Edge.Cause, &n.Edge.Kind, &e.Sequence, &e.ID, &e.Type, &e.Source, &e.Subject, &e.Namespace, &e.Ripple, &e.Cause,
			&e.SourceSequence, &e.Hops, &e.Actor, &e.Time, &e.Contributors)
		e.Time = e.Time.UTC()
		return n, err
	})
}

// trainedSQL: a training has every commit up to the one that it names. Those edges are not
// kept one by one: they are a range of numbers.
const trainedSQL = `SELECT u.event, c.event, 'data', ` + entryColumns + ` FROM commits c
	JOIN uses u ON u.namespace = c.namespace AND u.dataset = c.dataset AND u.number >= c.number
	JOIN events v ON v.namespace = u.namespace AND v.id = u.event
	WHERE c.namespace = $1 AND c.event = ANY($2) ORDER BY v.sequence, v.id, c.event LIMIT $3`

// TrainedOn returns the trainings that had data commits, named by their events.
func TrainedOn(ctx context.Context, r eventlog.Reader, namespace string, commits []string, limit int) ([]Neighbour, error) {
	return neighbours(ctx, r, trainedSQL, namespace, commits, limit)
}

// A Use says that a training had a dataset up to a commit.
type Use struct {
	Event   string // training_requested
	Dataset string
	Number  int64
}

// Uses returns the data that trainings had.
func Uses(ctx context.Context, r eventlog.Reader, namespace string, trainings []string) ([]Use, error) {
	rows, err := r.Query(ctx, `SELECT event, dataset, number FROM uses WHERE namespace = $1 AND event = ANY($2) ORDER BY event, dataset`, namespace, trainings)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Use])
}

// CommitsTo returns the events of a dataset's newest commits up to a number, newest first.
func CommitsTo(ctx context.Context, r eventlog.Reader, namespace, dataset string, number int64, limit int) ([]Entry, error) {
	rows, err := r.Query(ctx, `SELECT `+entryColumns+` FROM commits c JOIN events v ON v.namespace = c.namespace AND v.id = c.event
		WHERE c.namespace = $1 AND c.dataset = $2 AND c.number <= $3 ORDER BY c.number DESC LIMIT $4`, namespace, dataset, number, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// Entries returns events by their ids; unknown ones are left out.
func Entries(ctx context.Context, r eventlog.Reader, namespace string, ids []string) ([]Entry, error) {
	rows, err := r.Query(ctx, entriesSQL, namespace, ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// Verdicts returns what was decided because of measured candidates: that they are versions,
// and what the gates said.
func Verdicts(ctx context.Context, r eventlog.Reader, namespace string, measured []string) ([]Entry, error) {
	rows, err := r.Query(ctx, verdictsSQL, namespace, measured,
		[]string{events.TypeModelVersionRegistered, events.TypeCandidatePassed, events.TypeCandidateRefused})
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

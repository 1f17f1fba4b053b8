package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

const (
	// LongestName bounds what is looked up.
	LongestName = 256
	// shortestPart of a digest, revision or id that may stand for all of it.
	shortestPart = 6
	// mostListed of each kind, where a name is not known.
	mostListed = 5
)

// An AmbiguousError: the beginning of several names.
type AmbiguousError struct {
	Name string
	Of   []string
}

// Error says which.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q begins several names; write more of it: %s", e.Name, strings.Join(e.Of, ", "))
}

// A Named event is what a name stands for.
type Named struct {
	Kind  string // champion, event, or a kind of link
	Name  string // in full
	Event string
}

// Resolve finds the event that a name stands for: ENVIRONMENT/MODEL (what it served at a
// position), MODEL@VERSION, DATASET#NUMBER, an alert, run, rollout, training set or event
// by its id, a position of the log, or the beginning of a revision, digest or id.
func Resolve(ctx context.Context, r eventlog.Reader, namespace, name string, position int64) (Named, error) {
	if environment, model, ok := strings.Cut(name, "/"); ok {
		row, err := StoodOne(ctx, r, namespace, Champions, EnvironmentKey(environment, model), position)
		return Named{Champions, name, row.Event}, err
	}
	if _, err := Get(ctx, r, namespace, name); err == nil {
		return Named{"event", name, name}, nil
	} else if !errors.Is(err, ErrUnknown) {
		return Named{}, err
	}
	if model, version, ok := strings.Cut(name, "@"); ok {
		name = model + "@" + strings.TrimPrefix(version, "v")
	}
	kinds := []string{Verdict, Version, Number, Alert, Run, Rollout, TrainingSet}
	found, err := links(ctx, r, namedSQL, namespace, kinds, name)
	if err != nil {
		return Named{}, err
	}
	for _, kind := range kinds { // a version's verdict depends on the version
		if i := slices.IndexFunc(found, func(n Named) bool { return n.Kind == kind }); i >= 0 {
			return found[i], nil
		}
	}
	if sequence, err := strconv.ParseInt(name, 10, 64); err == nil && sequence > 0 {
		return atSequence(ctx, r, namespace, name, sequence)
	}
	return byPart(ctx, r, namespace, name)
}

const namedSQL = `SELECT kind, key, event FROM links WHERE namespace = $1 AND kind = ANY($2) AND key = $3`

const partSQL = `(SELECT kind, key, event FROM links WHERE namespace = $1 AND kind = 'revision' AND key >= $2 AND key < $3 ORDER BY key LIMIT 6)
		UNION ALL (SELECT kind, key, event FROM links WHERE namespace = $1 AND kind = 'run' AND key >= $2 AND key < $3 ORDER BY key LIMIT 6)
		UNION ALL (SELECT kind, key, event FROM links WHERE namespace = $1 AND kind = 'alert' AND key >= $2 AND key < $3 ORDER BY key LIMIT 6)
		UNION ALL (SELECT kind, key, event FROM links WHERE namespace = $1 AND kind = 'training_set' AND key >= $2 AND key < $3 ORDER BY key LIMIT 6)
		UNION ALL (SELECT kind, key, event FROM links WHERE namespace = $1 AND kind = 'commit' AND key >= $4 AND key < $5 ORDER BY key LIMIT 6)
		UNION ALL (SELECT 'event', id, id FROM events WHERE namespace = $1 AND id >= $2 AND id < $3 ORDER BY id LIMIT 6)`

// byPart finds what a name is the beginning of. A digest may lack its algorithm.
func byPart(ctx context.Context, r eventlog.Reader, namespace, name string) (Named, error) {
	if len(strings.TrimPrefix(name, "sha256:")) < shortestPart {
		return Named{}, ErrUnknown
	}
	const last = "\U0010FFFF"
	digest := "sha256:" + strings.TrimPrefix(name, "sha256:")
	found, err := links(ctx, r, partSQL, namespace, name, name+last, digest, digest+last)
	if err != nil {
		return Named{}, err
	}
	slices.SortStableFunc(found, func(a, b Named) int { return strings.Compare(a.Event, b.Event) })
	found = slices.CompactFunc(found, func(a, b Named) bool { return a.Event == b.Event })
	switch len(found) {
	case 0:
		return Named{}, ErrUnknown
	case 1:
		return found[0], nil
	}
	return Named{}, &AmbiguousError{Name: name, Of: names(found)}
}

func atSequence(ctx context.Context, r eventlog.Reader, namespace, name string, sequence int64) (Named, error) {
	found, err := links(ctx, r, `SELECT 'event', id, id FROM events WHERE sequence = $2 AND namespace = $1 ORDER BY id LIMIT 6`, namespace, sequence)
	switch {
	case err != nil:
		return Named{}, err
	case len(found) == 0:
		return Named{}, ErrUnknown
	case len(found) > 1:
		return Named{}, &AmbiguousError{Name: name, Of: names(found)}
	}
	return found[0], nil
}

func names(found []Named) []string {
	out := make([]string, len(found))
	for i, n := range found {
		out[i] = n.Name
	}
	return out
}

func links(ctx context.Context, r eventlog.Reader, sql string, args ...any) ([]Named, error) {
	rows, err := r.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Named])
}

// There lists names that are known: what serves, the newest versions, alerts, data
// commits and code commits.
func There(ctx context.Context, r eventlog.Reader, namespace string) ([]string, error) {
	rows, err := r.Query(ctx, `(SELECT key FROM past WHERE namespace = $1 AND kind = 'champion' AND until_sequence = $2 ORDER BY from_sequence DESC, key LIMIT $3)
		UNION ALL (SELECT key FROM past WHERE namespace = $1 AND kind = 'version' AND until_sequence = $2 ORDER BY from_sequence DESC, key LIMIT $3)
		UNION ALL (SELECT key FROM past WHERE namespace = $1 AND kind = 'alert' AND until_sequence = $2 ORDER BY from_sequence DESC, key LIMIT $3)
		UNION ALL (SELECT dataset || '#' || number FROM commits WHERE namespace = $1 ORDER BY sequence DESC, dataset LIMIT $3)
		UNION ALL (SELECT left(value->>'revision', 12) FROM past WHERE namespace = $1 AND kind = 'model' AND until_sequence = $2
			ORDER BY from_sequence DESC, key LIMIT $3)`,
		namespace, Open, mostListed)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

package state

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

// ErrUnknown: the log has no such thing.
var ErrUnknown = errors.New("unknown")

// An Entry is what the index says of an event.
type Entry struct {
	Sequence       int64     `json:"sequence"` // in the log
	ID             string    `json:"id"`
	Type           string    `json:"type"`
	Source         string    `json:"source"`
	Subject        string    `json:"subject"`
	Namespace      string    `json:"namespace"`
	Ripple         string    `json:"ripple"`
	Cause          string    `json:"cause,omitempty"`
	SourceSequence int64     `json:"source_sequence"`
	Hops           int       `json:"hops"`
	Actor          string    `json:"actor,omitempty"`
	Time           time.Time `json:"time"`
	Contributors   []string  `json:"contributors,omitempty"`
}

const columns = `sequence, id, type, source, subject, namespace, correlation, causation, source_sequence, hops, actor, time, contributors`

func scan(row pgx.CollectableRow) (Entry, error) {
	var e Entry
	err := row.Scan(&e.Sequence, &e.ID, &e.Type, &e.Source, &e.Subject, &e.Namespace, &e.Ripple, &e.Cause,
		&e.SourceSequence, &e.Hops, &e.Actor, &e.Time, &e.Contributors)
	e.Time = e.Time.UTC()
	return e, err
}

// A Filter chooses events; empty fields choose all.
type Filter struct {
	Namespace string
	Types     []string
	Subject   string
	Ripple    string
	After     int64 // sequence in the log
	Newest    bool  // the last ones, newest first
	Limit     int
}

// List returns the events that a filter chooses, in the log's order.
func List(ctx context.Context, r eventlog.Reader, f Filter) ([]Entry, error) {
	where := []string{"namespace = $1", "sequence > $2"}
	args := []any{f.Namespace, f.After}
	add := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	if len(f.Types) > 0 {
		add("type = ANY(?)", f.Types)
	}
	if f.Subject != "" {
		add("subject = ?", f.Subject)
	}
	if f.Ripple != "" {
		add("correlation = ?", f.Ripple)
	}
	order := "sequence"
	if f.Newest {
		order = "sequence DESC"
	}
	args = append(args, f.Limit)
	rows, err := r.Query(ctx, `SELECT `+columns+` FROM events WHERE `+strings.Join(where, " AND ")+
		` ORDER BY `+order+` LIMIT $`+strconv.Itoa(len(args)), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// Get returns one event's entry.
func Get(ctx context.Context, r eventlog.Reader, namespace, id string) (Entry, error) {
	rows, err := r.Query(ctx, `SELECT `+columns+` FROM events WHERE namespace = $1 AND id = $2`, namespace, id)
	if err != nil {
		return Entry{}, err
	}
	e, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return Entry{}, ErrUnknown
	}
	return e, err
}

// Link returns the event behind a name, ErrUnknown where there is none.
func Link(ctx context.Context, r eventlog.Reader, namespace, kind, key string) (string, error) {
	var id string
	err := r.QueryRow(ctx, `SELECT event FROM links WHERE namespace = $1 AND kind = $2 AND key = $3`, namespace, kind, key).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrUnknown
	}
	return id, err
}

const (
	anySQL        = `SELECT EXISTS (SELECT FROM events WHERE type = ANY($2) AND namespace = $1)`
	namespacesSQL = `WITH RECURSIVE known (namespace) AS (
		(SELECT namespace FROM links ORDER BY namespace LIMIT 1)
		UNION ALL
		SELECT (SELECT namespace FROM links l WHERE l.namespace > known.namespace ORDER BY namespace LIMIT 1) FROM known WHERE known.namespace IS NOT NULL
	) SELECT namespace FROM known WHERE namespace IS NOT NULL LIMIT $1`
)

// Happened reports whether a namespace has events.
func Happened(ctx context.Context, r eventlog.Reader, namespace string) (bool, error) {
	var found bool
	err := r.QueryRow(ctx, anySQL, namespace, slices.Sorted(maps.Keys(events.Channels))).Scan(&found)
	return found, err
}

// Namespaces are some of those in which something has a name, in order.
func Namespaces(ctx context.Context, r eventlog.Reader, limit int) ([]string, error) {
	rows, err := r.Query(ctx, namespacesSQL, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

// ErrUnknown: there is no such thing.
var ErrUnknown = errors.New("unknown")

func encode(v any) ([]byte, error) { return json.Marshal(v) }

func measures(p events.ModelVersionRegistered) (candidate, champion, naive []byte, err error) {
	if candidate, err = encode(p.Candidate.Metrics); err != nil {
		return nil, nil, nil, err
	}
	if p.Champion != nil {
		if champion, err = encode(p.Champion); err != nil {
			return nil, nil, nil, err
		}
	}
	naive, err = encode(p.Naive.Metrics)
	return candidate, champion, naive, err
}

// A Ripple is all that one root set in motion.
type Ripple struct {
	ID       string     `json:"id"`
	Trigger  string     `json:"trigger"`
	RootType string     `json:"root_type"`
	Subject  string     `json:"subject"`
	Events   int64      `json:"events"`
	Outcome  string     `json:"outcome"`
	Detail   string     `json:"detail"`
	Started  time.Time  `json:"started"`
	Ended    *time.Time `json:"ended,omitempty"`
	Open     bool       `json:"open"`
	Changed  int64      `json:"changed"` // place in the log
}

const rippleColumns = `id, trigger, root_type, subject, events, outcome, detail, started, last, changed,
	EXISTS (SELECT FROM pending p WHERE p.namespace = r.namespace AND p.ripple = r.id)`

func scanRipple(row pgx.CollectableRow) (Ripple, error) {
	var r Ripple
	var last time.Time
	err := row.Scan(&r.ID, &r.Trigger, &r.RootType, &r.Subject, &r.Events, &r.Outcome, &r.Detail, &r.Started, &last, &r.Changed, &r.Open)
	r.Started = r.Started.UTC()
	if last = last.UTC(); !r.Open {
		r.Ended = &last
	}
	return r, err
}

// A Filter chooses ripples; empty fields choose all.
type Filter struct {
	Namespace string
	Trigger   string
	Outcome   string
	Quiet     bool  // also windows in which nothing was found, and services' own
	Since     bool  // only those that changed after Changed
	Changed   int64 // a place in the log
	Limit     int
}

// Ripples returns ripples, the newest first; with Since, in the order of change.
func Ripples(ctx context.Context, r eventlog.Reader, f Filter) ([]Ripple, error) {
	where, args := []string{"namespace = $1"}, []any{f.Namespace}
	add := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	order := "begun DESC"
	if f.Since {
		add("changed > ?", f.Changed)
		order = "changed, begun"
	}
	if f.Trigger != "" {
		add("trigger = ?", f.Trigger)
	}
	if f.Outcome != "" {
		add("outcome = ?", f.Outcome)
	}
	if !f.Quiet {
		where = append(where, "trigger NOT IN ('window', 'service')")
	}
	args = append(args, f.Limit)
	rows, err := r.Query(ctx, `SELECT `+rippleColumns+` FROM ripples r WHERE `+strings.Join(where, " AND ")+
		` ORDER BY `+order+` LIMIT $`+strconv.Itoa(len(args)), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRipple)
}

// RippleOf returns one ripple.
func RippleOf(ctx context.Context, r eventlog.Reader, namespace, id string) (Ripple, error) {
	rows, err := r.Query(ctx, `SELECT `+rippleColumns+` FROM ripples r WHERE namespace = $1 AND id = $2`, namespace, id)
	if err != nil {
		return Ripple{}, err
	}
	ripple, err := pgx.CollectExactlyOneRow(rows, scanRipple)
	if errors.Is(err, pgx.ErrNoRows) {
		return Ripple{}, ErrUnknown
	}
	return ripple, err
}

// Newest is the place in the log of the last change of a namespace's ripples.
func Newest(ctx context.Context, r eventlog.Reader, namespace string) (int64, error) {
	var changed int64
	err := r.QueryRow(ctx, `SELECT coalesce(max(changed), 0) FROM ripples WHERE namespace = $1`, namespace).Scan(&changed)
	return changed, err
}

// An Event is one event of a ripple.
type Event struct {
	ID       string    `json:"id"`
	Sequence int64     `json:"sequence"`
	Type     string    `json:"type"`
	Subject  string    `json:"subject"`
	Cause    string    `json:"cause,omitempty"`
	Hops     int       `json:"hops"`
	Actor    string    `json:"actor,omitempty"`
	Time     time.Time `json:"time"`
	Note     string    `json:"note,omitempty"`
	Ripple   string    `json:"ripple"`
}

const eventColumns = `id, sequence, type, subject, cause, hops, actor, time, note, ripple`

func scanEvent(row pgx.CollectableRow) (Event, error) {
	var e Event
	err := row.Scan(&e.ID, &e.Sequence, &e.Type, &e.Subject, &e.Cause, &e.Hops, &e.Actor, &e.Time, &e.Note, &e.Ripple)
	e.Time = e.Time.UTC()
	return e, err
}

// RippleEvents returns a ripple's events in the log's order.
func RippleEvents(ctx context.Context, r eventlog.Reader, namespace, ripple string, limit int) ([]Event, error) {
	rows, err := r.Query(ctx, `SELECT `+eventColumns+` FROM ripple_events WHERE namespace = $1 AND ripple = $2 ORDER BY sequence LIMIT $3`,
		namespace, ripple, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanEvent)
}

// EventOf returns one event.
func EventOf(ctx context.Context, r eventlog.Reader, namespace, id string) (Event, error) {
	rows, err := r.Query(ctx, `SELECT `+eventColumns+` FROM ripple_events WHERE namespace = $1 AND id = $2`, namespace, id)
	if err != nil {
		return Event{}, err
	}
	e, err := pgx.CollectExactlyOneRow(rows, scanEvent)
	if errors.Is(err, pgx.ErrNoRows) {
		return Event{}, ErrUnknown
	}
	return e, err
}

// An Approval is what waits, or waited, for a person.
type Approval struct {
	Model       string          `json:"model"`
	Version     int64           `json:"version"`
	Environment string          `json:"environment"`
	Since       time.Time       `json:"since"`
	Ripple      string          `json:"ripple"`
	Event       string          `json:"event"` // that asked
	State       string          `json:"state"`
	Rows        int64           `json:"rows"`
	Candidate   json.RawMessage `json:"candidate"` // metrics over the same rows
	Champion    json.RawMessage `json:"champion"`
	Naive       json.RawMessage `json:"naive"`
	Gates       json.RawMessage `json:"gates"`
	Hops        int             `json:"-"`
}

const approvalColumns = `a.model, a.version, a.environment, a.since, a.ripple, a.event, a.state, a.hops, v.rows, v.candidate, v.champion, v.naive, v.gates
	FROM approvals a JOIN versions v USING (namespace, model, version)`

func scanApproval(row pgx.CollectableRow) (Approval, error) {
	var a Approval
	var candidate, champion, naive, gates []byte
	err := row.Scan(&a.Model, &a.Version, &a.Environment, &a.Since, &a.Ripple, &a.Event, &a.State, &a.Hops, &a.Rows,
		&candidate, &champion, &naive, &gates)
	a.Since = a.Since.UTC()
	a.Candidate, a.Champion, a.Naive, a.Gates = candidate, champion, naive, gates
	return a, err
}

// Approvals returns what waits for a person, the oldest first.
func Approvals(ctx context.Context, r eventlog.Reader, namespace string) ([]Approval, error) {
	rows, err := r.Query(ctx, `SELECT `+approvalColumns+` WHERE a.namespace = $1 AND a.state = 'waiting'
		ORDER BY a.since, a.model, a.version, a.environment`, namespace)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanApproval)
}

// ApprovalOf returns what became of an approval that was asked for.
func ApprovalOf(ctx context.Context, r eventlog.Reader, namespace, model string, version int64, environment string) (Approval, error) {
	rows, err := r.Query(ctx, `SELECT `+approvalColumns+` WHERE a.namespace = $1 AND a.model = $2 AND a.version = $3 AND a.environment = $4`,
		namespace, model, version, environment)
	if err != nil {
		return Approval{}, err
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanApproval)
	if errors.Is(err, pgx.ErrNoRows) {
		return Approval{}, ErrUnknown
	}
	return a, err
}

// ModelKnown reports whether a model is declared and not withdrawn.
func ModelKnown(ctx context.Context, r eventlog.Reader, namespace, model string) (bool, error) {
	var known bool
	err := r.QueryRow(ctx, `SELECT EXISTS (SELECT FROM models WHERE namespace = $1 AND model = $2 AND NOT withdrawn)`, namespace, model).Scan(&known)
	return known, err
}

// Environments are those of a model's newest declaration; none where only its versions
// are known.
func Environments(ctx context.Context, r eventlog.Reader, namespace, model string) ([]string, error) {
	var environments []string
	err := r.QueryRow(ctx, `SELECT environments FROM models WHERE namespace = $1 AND model = $2`, namespace, model).Scan(&environments)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return environments, err
}

// VersionPassed reports whether a version exists and passed its gates.
func VersionPassed(ctx context.Context, r eventlog.Reader, namespace, model string, version int64) (passed, known bool, err error) {
	err = r.QueryRow(ctx, `SELECT passed FROM versions WHERE namespace = $1 AND model = $2 AND version = $3`, namespace, model, version).Scan(&passed)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, false, nil
	}
	return passed, err == nil, err
}

// A Champion is what an environment serves.
type Champion struct {
	Model       string    `json:"model"`
	Environment string    `json:"environment"`
	Version     int64     `json:"version"`
	Previous    *int64    `json:"previous,omitempty"`
	Since       time.Time `json:"since"`
}

// Champions returns what serves, in a fixed order.
func Champions(ctx context.Context, r eventlog.Reader, namespace string) ([]Champion, error) {
	rows, err := r.Query(ctx, `SELECT model, environment, version, previous, since FROM champions
		WHERE namespace = $1 ORDER BY model, since, environment`, namespace)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Champion])
}

// ChampionOf returns what one environment serves.
func ChampionOf(ctx context.Context, r eventlog.Reader, namespace, model, environment string) (Champion, error) {
	rows, err := r.Query(ctx, `SELECT model, environment, version, previous, since FROM champions
		WHERE namespace = $1 AND model = $2 AND environment = $3`, namespace, model, environment)
	if err != nil {
		return Champion{}, err
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Champion])
	if errors.Is(err, pgx.ErrNoRows) {
		return Champion{}, ErrUnknown
	}
	return c, err
}

// A Version is what became of a candidate.
type Version struct {
	Model   string `json:"model"`
	Version int64  `json:"version"`
	Status  string `json:"status"` // passed, refused, or registered while no gate has said
}

// Versions returns the newest versions of each model, newest first, at most so many in all.
func Versions(ctx context.Context, r eventlog.Reader, namespace string, limit int) ([]Version, error) {
	rows, err := r.Query(ctx, `SELECT model, version, CASE WHEN passed THEN 'passed' WHEN gates = '[]' THEN 'registered' ELSE 'refused' END FROM (
			SELECT *, row_number() OVER (PARTITION BY model ORDER BY version DESC) AS place FROM versions WHERE namespace = $1) v
		WHERE place <= $2 ORDER BY place, model LIMIT $2`, namespace, limit)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Version])
	slices.SortStableFunc(list, func(a, b Version) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), cmp.Compare(b.Version, a.Version))
	})
	return list, err
}

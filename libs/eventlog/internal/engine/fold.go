package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jackc/pgx/v5"
)

// A Fold is how one service's state follows from the log: its tables, what each
// event changes, and what the service decides because of an event.
type Fold struct {
	Service string // owner's name as in event types: "feature-store"
	Version int    // raised whenever Tables, an apply, a decide or the events consumed change
	Tables  string // DDL, unqualified names; runs in the service's own schema

	apply  map[string]ApplyFunc
	decide map[string]DecideFunc
}

// NewFold returns a fold without handlers.
func NewFold(service string, version int, tables string) *Fold {
	return &Fold{Service: service, Version: version, Tables: tables,
		apply: map[string]ApplyFunc{}, decide: map[string]DecideFunc{}}
}

// An ApplyFunc changes the fold's tables as an event says. It is the only place
// that writes them, and the only one that opens effects and sets timers. It sees
// nothing but the event and the tables: no clock, no randomness, no network.
type ApplyFunc func(ctx context.Context, tx *Tx, e event.Event) error

// A DecideFunc returns the decisions that a service adds because of one event:
// drafts made by the events module's constructors. It only reads. Now is the
// folded time. The order of the decisions is their ordinal.
type DecideFunc func(ctx context.Context, state Reader, e event.Event, now time.Time) ([]event.Event, error)

// Decides are the event types that the fold decides on, sorted.
func (f *Fold) Decides() []string { return slices.Sorted(maps.Keys(f.decide)) }

// Handlers are what a fold registered, by event type, for whoever wraps one of them.
func Handlers(f *Fold) (apply map[string]ApplyFunc, decide map[string]DecideFunc) {
	return f.apply, f.decide
}

// Types are the event types that the fold applies or decides on, sorted: what the
// service consumes of others, and of its own.
func (f *Fold) Types() []string {
	types := slices.Collect(maps.Keys(f.apply))
	for typ := range f.decide {
		if f.apply[typ] == nil {
			types = append(types, typ)
		}
	}
	slices.Sort(types)
	return types
}

// Reader reads the fold's tables (search_path is the service's schema).
// *pgxpool.Pool satisfies it, so queries serve decide and HTTP alike.
type Reader interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// An Effect is slow or unsafe work that an applied event opens. It is a row of
// folded state until the fact that it ends with closes it. Its id is
// envelope.EffectID(cause, kind, ordinal).
type Effect struct {
	Kind    string
	Ordinal int // distinguishes effects of one kind opened by one event
	Args    any // encoded as JSON
}

// A Timer records Fact when the suite clock reaches Due. Setting a name again
// replaces its timer and makes the older one stale.
type Timer struct {
	Name string
	Due  time.Time
	Fact event.Event // a draft
	Root bool        // the fact begins a ripple of its own, as a recurring tick does
}

// Invalid marks an event that can never be applied; it is parked.
func Invalid(err error) error { return &invalidError{err} }

type invalidError struct{ error }

func (e *invalidError) Unwrap() error { return e.error }

// ErrParked: the fact's event was parked by its own service.
var ErrParked = errors.New("the event was parked")

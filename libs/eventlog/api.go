package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
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
// EffectID(cause, kind, ordinal).
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

// A Handler executes one kind of effect. Run returns the draft of the fact that
// ends the effect; an error makes another attempt after a pause, until Attempts
// are used up or the error is Permanent: then Failed's draft ends it.
type Handler struct {
	Kind        string
	Timeout     time.Duration // of one attempt
	Attempts    int
	Concurrency int // executions at once in this process; 1 if zero
	Run         func(ctx context.Context, run *Run) (event.Event, error)
	Failed      func(ctx context.Context, run *Run, err error) (event.Event, error)
}

// A Run is one execution of an effect.
type Run struct {
	ID        string // the effect's
	Kind      string
	Namespace string
	Cause     Cause // the event that opened it
	Attempt   int   // from 1
	Args      json.RawMessage

	log *Log
}

// Cause says why a fact was recorded: the triggering event and its ripple.
// The zero Cause makes the fact a root, and its own id the ripple's.
type Cause struct {
	ID          string // causationid
	Correlation string // correlationid
	Hops        int    // of the cause
	Traceparent string
}

// A Fact is something recorded from outside the fold. Its id is the UUIDv5 of
// Key (a UUIDv7 where Key is empty); the same key with the same payload gets the
// first answer, with another payload ErrConflict.
type Fact struct {
	Event event.Event // a draft
	Key   []string
	Cause Cause
	Actor string // opaque id of who did it
}

// A Receipt says what a fact became.
type Receipt struct {
	ID       string
	Sequence uint64 // per source
	Existing bool   // it had been recorded before
}

// Status is how far a service is.
type Status struct {
	Position uint64 // last sequence of the log applied
	End      uint64 // last sequence in the log, when last seen
	Outbox   int64  // recorded, not yet in the log
	Effects  int64  // open and able to run now
	Parked   int64
	Err      error // what stopped or holds up the processor or the relay
}

// Codec encodes complete events as structured JSON and decodes them strictly.
// events.Codec is the implementation.
type Codec interface {
	Encode(e event.Event) ([]byte, error)
	Decode(b []byte) (event.Event, error)
}

// Options are what a Log needs. Pool's search_path is set by Open per connection
// use; the caller gives a pool of the suite's database. Its application_name is to be
// this process's alone, as SessionName makes one: sessions of that name are ended together
// where the process is frozen. Without a name, Open chooses one; replicas of one name
// never end each other.
type Options struct {
	Fold       *Fold
	IsDecision func(typ string) bool // events.IsDecision
	Codec      Codec
	Pool       *pgxpool.Pool
	NATS       *nats.Conn
	// Attested: audit runs beside, and nothing is published or applied before it has
	// attested the log. Without it, what this service applied is all that the log is
	// held against, and nobody puts back what the log's server lost.
	Attested bool
	Archive  *archive.Reader // the log's past beyond JetStream; nil where there is none
	Clock    clock.Clock
	Handlers []Handler
	Batch    int // events that share a transaction at most; 256 if zero
	// PlainSQL: a replay sends the fold's statements as they are, and merges none of them
	// into statements over arrays. It is slower, and the same.
	PlainSQL bool
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Errors that callers tell apart.
var (
	// ErrConflict: the natural key was recorded before with another payload.
	ErrConflict = errors.New("recorded before with another payload")
	// ErrParked: the fact's event was parked by its own service.
	ErrParked = errors.New("the event was parked")
	// ErrAlarm: the history cannot be gone on with, and waiting does not help.
	ErrAlarm = errors.New("the log cannot be gone on with")
	// ErrStopped: the log is closed or halted on an alarm.
	ErrStopped = errors.New("the log is stopped")
)

// Permanent marks an effect's error as not worth another attempt.
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// Invalid marks an event that can never be applied; it is parked.
func Invalid(err error) error { return &invalidError{err} }

type invalidError struct{ error }

func (e *invalidError) Unwrap() error { return e.error }

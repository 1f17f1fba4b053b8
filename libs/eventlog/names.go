package eventlog

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/effects"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
	"github.com/freshet-io/freshet/libs/eventlog/internal/replay"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What a service folds with.
type (
	// A Fold is how one service's state follows from the log: its tables, what each
	// event changes, and what the service decides because of an event.
	Fold = engine.Fold
	// An ApplyFunc changes the fold's tables as an event says.
	ApplyFunc = engine.ApplyFunc
	// A DecideFunc returns the decisions that a service adds because of one event.
	DecideFunc = engine.DecideFunc
	// A Tx is what an apply writes with.
	Tx = engine.Tx
	// Reader reads the fold's tables.
	Reader = engine.Reader
	// An Effect is slow or unsafe work that an applied event opens.
	Effect = engine.Effect
	// A Timer records a fact when the suite clock reaches its time.
	Timer = engine.Timer
	// A Payload is what an event says.
	Payload[P any] = engine.Payload[P]
	// An EventPayload is a payload that events of one type have, and no others.
	EventPayload[P any] = engine.EventPayload[P]
)

// NewFold returns a fold without handlers.
func NewFold(service string, version int, tables string) *Fold {
	return engine.NewFold(service, version, tables)
}

// Apply registers what events of a payload's type change: Apply(fold, onX).
func Apply[P any, PP EventPayload[P]](f *Fold, fn func(ctx context.Context, tx *Tx, e event.Event, p P) error) {
	engine.Apply[P, PP](f, fn)
}

// Decide registers what a service decides on events of a payload's type, as
// Fold.Decide does: Decide(fold, onX).
func Decide[P any, PP EventPayload[P]](f *Fold, fn func(ctx context.Context, state Reader, e event.Event, p P, now time.Time) ([]event.Event, error)) {
	engine.Decide[P, PP](f, fn)
}

// Applies adapts a typed handler for Fold.Apply, where several event types share
// its payload or it is one of several handlers of an event.
func Applies[P any, PP Payload[P]](fn func(ctx context.Context, tx *Tx, e event.Event, p P) error) ApplyFunc {
	return engine.Applies[P, PP](fn)
}

// Invalid marks an event that can never be applied; it is parked.
func Invalid(err error) error { return engine.Invalid(err) }

// What a service executes and records.
type (
	// A Handler executes one kind of effect.
	Handler = effects.Handler
	// A Run is one execution of an effect.
	Run = effects.Run
	// A Fact is something recorded from outside the fold.
	Fact = outbox.Fact
	// A Receipt says what a fact became.
	Receipt = outbox.Receipt
	// Cause says why a fact was recorded: the triggering event and its ripple.
	Cause = envelope.Cause
	// Codec encodes complete events as structured JSON and decodes them strictly.
	Codec = envelope.Codec
)

// Permanent marks an effect's error as not worth another attempt.
func Permanent(err error) error { return effects.Permanent(err) }

// What a replay is asked for, and what it finds.
type (
	// An Origin is where a replay reads the log's past.
	Origin = source.Origin
	// Progress is how far a replay is.
	Progress = replay.Progress
	// A Report is the outcome of a replay.
	Report = replay.Report
	// A Difference is where a replay departs from what is live.
	Difference = replay.Difference
	// A Trial is the fold in a schema of its own that may leave the log's way.
	Trial = replay.Trial
	// A TrialStep is what one event led to.
	TrialStep = replay.TrialStep
	// A TrialEffect is an effect that a step opened.
	TrialEffect = replay.TrialEffect
)

// Origins of a replay, its phases, and kinds of difference.
const (
	FromLog     = source.FromLog     // JetStream, and the archive for what was trimmed there
	FromArchive = source.FromArchive // the archive, and JetStream for what is not there yet

	PhaseFold    = replay.PhaseFold    // applying the log
	PhaseCompare = replay.PhaseCompare // comparing the tables with the live ones
	PhaseLocate  = replay.PhaseLocate  // looking for the event behind a row that differs

	DiffersDecision = replay.DiffersDecision // what is decided now is not what was recorded
	DiffersLog      = replay.DiffersLog      // a decision in the log is not the one that was applied
	DiffersApply    = replay.DiffersApply    // an event that was applied cannot be any more
	DiffersTable    = replay.DiffersTable    // a row is not what the events make of it
)

// Errors that callers tell apart.
var (
	// ErrConflict: the natural key was recorded before with another payload.
	ErrConflict = outbox.ErrConflict
	// ErrParked: the fact's event was parked by its own service.
	ErrParked = engine.ErrParked
	// ErrAlarm: the history cannot continue, and waiting does not help.
	ErrAlarm = stall.ErrAlarm
	// ErrStopped: the log is closed or halted on an alarm.
	ErrStopped = stall.ErrStopped
	// ErrReplaying: one rebuild or verification of a service runs at a time.
	ErrReplaying = replay.ErrReplaying
	// ErrNotLeading: only the process that leads can rebuild.
	ErrNotLeading = replay.ErrNotLeading
	// ErrTrials: as many trials as are allowed are open.
	ErrTrials = replay.ErrTrials
	// ErrNoArchive: the archive is needed, and there is none.
	ErrNoArchive = source.ErrNoArchive
)

// Namespace is the tenant an event belongs to.
func Namespace(e event.Event) string { return envelope.Namespace(e) }

// Correlation is the ripple an event belongs to: the id of its root.
func Correlation(e event.Event) string { return envelope.Correlation(e) }

// Causation is the id of the event that led to this one; empty for a root.
func Causation(e event.Event) string { return envelope.Causation(e) }

// Actor is the opaque id of who recorded a fact; empty where nobody did.
func Actor(e event.Event) string { return envelope.Actor(e) }

// Hops is how many causes lie between the root and this event.
func Hops(e event.Event) int { return envelope.Hops(e) }

// Sequence is the event's number among those of its source, from 1.
func Sequence(e event.Event) uint64 { return envelope.Sequence(e) }

// CauseOf makes an event the cause of what is recorded because of it.
func CauseOf(e event.Event) Cause { return envelope.CauseOf(e) }

// EffectID is the id of the effect that an event opens.
func EffectID(cause, kind string, ordinal int) string {
	return envelope.EffectID(cause, kind, ordinal)
}

// FactID is the id that a service's fact with a natural key has, recorded or not.
func FactID(service, namespace string, key ...string) string {
	return envelope.FactID(service, namespace, key...)
}

// Subject is where an event is published: freshet.<namespace>.<service>.v1.<name>.
func Subject(e event.Event) (string, error) { return envelope.Subject(e) }

// Token encodes any text as one token of a NATS subject.
func Token(s string) string { return envelope.Token(s) }

// SessionName is an application_name of a service's sessions, another one for each
// process, so that its sessions can be told from a replica's.
func SessionName(service string) string { return schema.SessionName(service) }

// StreamConfig is how a stream of the log is made.
func StreamConfig(name string) jetstream.StreamConfig { return source.StreamConfig(name) }

// Message is an event as the log carries it, without what its publisher expects.
func Message(e event.Event, data []byte) (*nats.Msg, error) { return source.Message(e, data) }

// EnsureStream creates the log's stream, FRESHET_<epoch>, unless it exists, and
// refuses one that does not keep the log's promises.
func EnsureStream(ctx context.Context, nc *nats.Conn, stream string) error {
	return source.EnsureStream(ctx, nc, stream)
}

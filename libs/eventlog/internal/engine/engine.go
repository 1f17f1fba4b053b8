package engine

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/jackc/pgx/v5"
)

// Decisions finds what was decided because of events, by their ids: per cause, in its
// order. The outbox implements it.
type Decisions func(ctx context.Context, q Reader, causes []string) (map[string][]Decision, error)

// Config is what an engine needs.
type Config struct {
	Fold       *Fold
	IsDecision func(typ string) bool
	Codec      envelope.Codec
	Decisions  Decisions
	Logger     *slog.Logger
}

// An Engine folds one service's events into its tables, and mirrors in memory what it
// asks of them for every event. One goroutine steps; everybody may ask.
type Engine struct {
	definition

	mu      sync.Mutex
	mem     memory
	saved   uint64 // the position as committed
	changed chan struct{}
}

// A definition is what all engines of one fold share.
type definition struct {
	Config
	service    string
	schema     string
	ownTypes   string // how the types of the service's events begin
	parkedType string // of the decision that an event is parked
	types      map[string]*Type
}

// New returns an engine that has folded nothing.
func New(c Config) *Engine {
	own := envelope.TypePrefix + c.Fold.Service + ".v1."
	g := &Engine{changed: make(chan struct{}), mem: newMemory(), definition: definition{
		Config: c, service: c.Fold.Service, schema: schema.Of(c.Fold.Service), ownTypes: own, parkedType: own + "event_parked",
	}}
	g.types = map[string]*Type{}
	for _, typ := range c.Fold.Types() {
		g.types[strings.TrimPrefix(typ, envelope.TypePrefix)] = g.newType(typ)
	}
	return g
}

// Empty returns an engine of the same fold that has folded nothing, and says nothing.
func (g *Engine) Empty() *Engine {
	d := g.definition
	d.Logger = slog.New(slog.DiscardHandler)
	return &Engine{definition: d, changed: make(chan struct{}), mem: newMemory()}
}

// Service is whose events the engine's own are.
func (g *Engine) Service() string { return g.service }

// Schema is where the service's live tables are.
func (g *Engine) Schema() string { return g.schema }

// Tables are those of the fold.
func (g *Engine) Tables() schema.Fold {
	return schema.Fold{Service: g.service, Version: g.Fold.Version, Tables: g.Fold.Tables}
}

// Version is the fold's.
func (g *Engine) Version() int { return g.Fold.Version }

// ParkedType is the type of the decision that an event is parked.
func (g *Engine) ParkedType() string { return g.parkedType }

// Consumes are the event types that the fold applies or decides on, and those that
// resolve a parked event.
func (g *Engine) Consumes() []string {
	return append(g.Fold.Types(), g.ownTypes+Retried, g.ownTypes+Discarded)
}

// Position is the last event that was folded.
func (g *Engine) Position() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mem.sequence
}

// PositionDigest is the position, and the digest of the event there.
func (g *Engine) PositionDigest() (uint64, []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mem.sequence, g.mem.digest
}

// Saved is the position as the database has it.
func (g *Engine) Saved() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.saved
}

// NoteSaved says that the database has the position that the engine has.
func (g *Engine) NoteSaved() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.saved = g.mem.sequence
}

// Counted is the position, and how many of the service's own events lie up to it.
func (g *Engine) Counted() (position, own uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mem.sequence, g.mem.sources[envelope.SourcePrefix+g.service].sequence
}

// Applied says whether the service's own events up to a sequence are applied, which
// channel is closed by the next change, and why some of them are parked.
func (g *Engine) Applied(sequence uint64, ids []string) (applied bool, changed <-chan struct{}, parked error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		if p, ok := g.mem.parked[id]; ok {
			parked = p.err()
		}
	}
	return g.mem.sources[envelope.SourcePrefix+g.service].sequence >= sequence, g.changed, parked
}

// Parked counts the events that are parked, and those that wait behind one.
func (g *Engine) Parked() (parked, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.mem.parked {
		if p.queued {
			waiting++
		} else {
			parked++
		}
	}
	return parked, waiting
}

// Effects are the open effects.
func (g *Engine) Effects() []*EffectRow {
	g.mu.Lock()
	defer g.mu.Unlock()
	rows := make([]*EffectRow, 0, len(g.mem.effects))
	for _, r := range g.mem.effects {
		rows = append(rows, r)
	}
	return rows
}

// Timers shows the timers that are set, and the keys of those by the id of the fact that
// each records. Look keeps neither.
func (g *Engine) Timers(look func(set map[string]*TimerRow, firing map[string]string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	look(g.mem.timers, g.mem.firing)
}

// DueTimers counts the timers that have been reached and not yet been applied.
func (g *Engine) DueTimers(now time.Time) (n int64) {
	g.Timers(func(set map[string]*TimerRow, _ map[string]string) {
		for _, r := range set {
			if !r.Due.After(now) {
				n++
			}
		}
	})
	return n
}

// Changed is closed when the next batch of events has been applied.
func (g *Engine) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Signal lets go whoever waits for a change.
func (g *Engine) Signal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.changed)
	g.changed = make(chan struct{})
}

// Changes are what a committed transaction did to effects and timers.
type Changes struct {
	Opened  []*EffectRow
	Closed  []string // ids of effects
	Timers  bool
	Applied int // events that the position moved past
}

// commit makes a committed transaction's changes visible to the process.
func (g *Engine) commit(s *stage) Changes {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mem.sequence, g.mem.digest, g.mem.now, g.mem.sources = s.sequence, s.digest, s.now, s.sources
	c := Changes{Opened: s.opened, Closed: s.closed, Timers: len(s.timers.changed) > 0, Applied: s.applied}
	s.commit()
	return c
}

// Begin begins a transaction on a connection.
func (g *Engine) Begin(conn *pgx.Conn, mode *Mode) *Transaction {
	return &Transaction{Tx: Tx{g: g, conn: conn, batch: &pgx.Batch{}, stage: g.stage()}, mode: mode}
}

func (g *Engine) stage() *stage {
	m := &g.mem
	s := &stage{
		sequence: m.sequence, digest: m.digest, now: m.now,
		sources: make(map[string]sourceState, len(m.sources)), touched: map[string][]byte{},
		effects: layer[*EffectRow]{base: m.effects}, timers: layer[*TimerRow]{base: m.timers},
		firing: layer[string]{base: m.firing}, stale: layer[time.Time]{base: m.stale}, parked: layer[*parkedRow]{base: m.parked},
	}
	maps.Copy(s.sources, m.sources)
	return s
}

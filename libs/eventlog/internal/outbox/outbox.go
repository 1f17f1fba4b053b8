package outbox

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
)

// Config is what an outbox needs.
type Config struct {
	Pool       *pgxpool.Pool
	NATS       *nats.Conn
	Clock      clock.Clock
	Board      *stall.Board
	Logger     *slog.Logger
	Count      func(recorded int) // a metric
	RolledBack func()             // called where the counter is behind what this process knows
}

// An Outbox records a service's facts and decisions.
type Outbox struct {
	engine     *engine.Engine
	sessions   *lead.LogSessions
	source     *source.Source
	service    string
	schema     string
	pool       *pgxpool.Pool
	nats       *nats.Conn
	clock      clock.Clock
	board      *stall.Board
	logger     *slog.Logger
	count      func(int)
	rolledBack func()

	// Relay carries what is recorded into the log.
	Relay    *Relay
	counter  counter
	requests chan *request
	admitted atomic.Bool // the outbox knows what the log has of the service
	stopped  chan struct{}
}

// New returns the outbox of the service whose events an engine folds.
func New(g *engine.Engine, sessions *lead.LogSessions, s *source.Source, c Config) *Outbox {
	o := &Outbox{
		engine: g, sessions: sessions, source: s, service: g.Service(), schema: g.Schema(), pool: c.Pool, nats: c.NATS, clock: c.Clock,
		board: c.Board, logger: c.Logger, count: c.Count, rolledBack: c.RolledBack,
		requests: make(chan *request, maxGroup), stopped: make(chan struct{}),
	}
	o.Relay = newRelay(o)
	return o
}

// Admit says whether the outbox knows what the log has of the service: only then is
// anything recorded.
func (o *Outbox) Admit(known bool) { o.admitted.Store(known) }

// Admitted says whether anything is recorded.
func (o *Outbox) Admitted() bool { return o.admitted.Load() }

// Stopped is closed when nothing is recorded any more.
func (o *Outbox) Stopped() <-chan struct{} { return o.stopped }

// Stop refuses what is submitted from now on.
func (o *Outbox) Stop() { close(o.stopped) }

// Decisions finds in a service's outbox what was decided because of events.
func Decisions(service string, codec envelope.Codec) engine.Decisions {
	return func(ctx context.Context, q engine.Reader, causes []string) (map[string][]engine.Decision, error) {
		return readDecisions(ctx, q, schema.Of(service), codec, DecisionsOfSQL, causes)
	}
}

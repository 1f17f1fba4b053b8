package replay

import (
	"log/slog"
	"sync/atomic"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/live"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config is what replays need.
type Config struct {
	Pool      *pgxpool.Pool
	Sessions  *lead.LogSessions
	Source    *source.Source
	Outbox    *outbox.Outbox
	Processor *live.Processor
	Leading   func() bool
	PlainSQL  bool // statements are sent as they are, not merged
	Logger    *slog.Logger
}

// Replay folds a service's log again.
type Replay struct {
	engine    *engine.Engine // the live one
	pool      *pgxpool.Pool
	sessions  *lead.LogSessions
	source    *source.Source
	outbox    *outbox.Outbox
	processor *live.Processor
	leading   func() bool
	plainSQL  bool
	logger    *slog.Logger
	renewing  atomic.Pointer[Progress]
}

// New returns replays of what an engine folds live.
func New(g *engine.Engine, c Config) *Replay {
	return &Replay{engine: g, pool: c.Pool, sessions: c.Sessions, source: c.Source, outbox: c.Outbox, processor: c.Processor,
		leading: c.Leading, plainSQL: c.PlainSQL, logger: c.Logger}
}

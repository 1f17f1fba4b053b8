package monitoring

import (
	"context"
	"log/slog"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/monitoring/internal/edge"
	"github.com/freshet-io/freshet/services/monitoring/internal/effect"
	"github.com/freshet-io/freshet/services/monitoring/internal/inbox"
	"github.com/freshet-io/freshet/services/monitoring/internal/watch"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its effects, its loops and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("monitoring",
		fx.Supply(cfg),
		fx.Provide(Fold, newInbox, newProfiles, newWatcher),
		service.Migrations(inbox.Migrations),
		service.Effects(qualityEffect),
		service.Loops(recordsLoop, windowsLoop),
		fx.Invoke(routes),
	)
}

func newInbox(pool *pgxpool.Pool, client *kafka.Client, logger *slog.Logger) *inbox.Inbox {
	return inbox.New(pool, client, logger)
}

func newProfiles(pool *pgxpool.Pool, store *objects.Store) *watch.Profiles {
	return watch.NewProfiles(pool, store)
}

func newWatcher(cfg Config, pool *pgxpool.Pool, log *eventlog.Log, in *inbox.Inbox, profiles *watch.Profiles, c clock.Clock,
	logger *slog.Logger) *watch.Watcher {
	return watch.New(watch.Settings{Grace: cfg.Grace, Keep: cfg.Keep}, pool, log, in, profiles, c, logger)
}

func qualityEffect(cfg Config, pool *pgxpool.Pool, in *inbox.Inbox, profiles *watch.Profiles, store *objects.Store,
	paths service.Paths) (eventlog.Handler, error) {
	engine, err := duckdb.Open(context.Background(), duckdb.Options{MemoryLimit: cfg.LabelMemory, Threads: 1, TempDir: paths.TempDir, Sessions: 1})
	if err != nil {
		return eventlog.Handler{}, err
	}
	q := &effect.Quality{DB: pool, Inbox: in, Profiles: profiles, Files: store, Engine: engine, Back: cfg.Back}
	return q.Handler(), nil
}

func recordsLoop(in *inbox.Inbox) service.Loop {
	return service.Loop{Name: "records", Run: in.Run, Behind: in.Behind}
}

func windowsLoop(w *watch.Watcher) service.Loop {
	return service.Loop{Name: "windows", Run: w.Run, Behind: w.Behind}
}

func routes(mux *web.Mux, log *eventlog.Log) {
	edge.New(log.State()).Register(mux)
}

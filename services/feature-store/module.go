package featurestore

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/feature-store/internal/decide"
	"github.com/freshet-io/freshet/services/feature-store/internal/edge"
	"github.com/freshet-io/freshet/services/feature-store/internal/effect"
	"github.com/freshet-io/freshet/services/feature-store/internal/online"
	"github.com/freshet-io/freshet/services/feature-store/internal/state"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/fx"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Module is the whole service.
func Module(cfg Config) fx.Option {
	return fx.Module("feature-store",
		fx.Supply(cfg),
		fx.Provide(newFold, newEngine, newWorks, newStore,
			fx.Annotate(materialise, fx.ResultTags(`group:"effects"`)),
			fx.Annotate(trainingSets, fx.ResultTags(`group:"effects"`)),
			fx.Annotate(follow, fx.ResultTags(`group:"loops"`)),
			fx.Annotate(consume, fx.ResultTags(`group:"loops"`)),
			fx.Annotate(behind, fx.ResultTags(`group:"progress"`)),
			fx.Annotate(lag, fx.ResultTags(`group:"progress"`)),
			fx.Annotate(dataTables, fx.ResultTags(`group:"migrations"`)),
		),
		fx.Invoke(routes),
	)
}

func newFold() *eventlog.Fold {
	fold := eventlog.NewFold("feature-store", state.FoldVersion, state.Tables)
	state.Register(fold)
	decide.Register(fold)
	return fold
}

func newEngine(cfg Config, paths service.Paths) (*duckdb.Engine, error) {
	// Sessions: two for serving, the others for effects.
	return duckdb.Open(context.Background(), duckdb.Options{MemoryLimit: cfg.Memory, Threads: cfg.Threads, TempDir: paths.TempDir, Sessions: 5})
}

func newWorks(pool *pgxpool.Pool, store *objects.Store, engine *duckdb.Engine) *effect.Works {
	return &effect.Works{State: pool, Objects: store, Engine: engine}
}

func newStore(lc fx.Lifecycle, cfg Config, pool *pgxpool.Pool, store *objects.Store, engine *duckdb.Engine, c clock.Clock, logger *slog.Logger) *online.Store {
	s := online.New(pool, store, engine, c, cfg.IdleAfter, logger)
	lc.Append(fx.StopHook(s.Close))
	return s
}

func materialise(cfg Config, w *effect.Works) eventlog.Handler {
	return w.Materialise(cfg.MaterialiseTimeout, 2)
}

func trainingSets(cfg Config, w *effect.Works) eventlog.Handler {
	return w.TrainingSet(cfg.TrainingSetTimeout)
}

func follow(s *online.Store, log *eventlog.Log) service.Loop {
	return service.Loop{Name: "online store", Run: func(ctx context.Context) error { return s.Follow(ctx, log.Changed) }}
}

func consume(s *online.Store, client *kafka.Client, pool *pgxpool.Pool) service.Loop {
	return service.Loop{Name: "pushed rows", Run: func(ctx context.Context) error { return s.Consume(ctx, client, pool) }}
}

func behind(s *online.Store) service.Progress {
	return service.Progress{Name: "online store", Behind: s.Behind}
}

func lag(s *online.Store, client *kafka.Client) service.Progress {
	return service.Progress{Name: "pushed rows", Behind: func(ctx context.Context) (int64, error) { return s.Lag(ctx, client) }}
}

func dataTables() (service.Migrations, error) {
	sub, err := fs.Sub(migrations, "migrations")
	return service.Migrations{FS: sub}, err
}

func routes(mux *web.Mux, log *eventlog.Log, cfg Config, s *online.Store, client *kafka.Client, logger *slog.Logger) {
	(&edge.Edge{
		Store: s, State: log.State(), Kafka: client, Logger: logger,
		BodyLimit: cfg.BodyLimit, PushTimeout: cfg.PushTimeout, ListLimit: cfg.ListLimit,
	}).Register(mux)
}

package featurestore

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
	"github.com/freshet-io/freshet/services/feature-store/internal/edge"
	"github.com/freshet-io/freshet/services/feature-store/internal/effect"
	"github.com/freshet-io/freshet/services/feature-store/internal/online"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its effects, its loops and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("feature-store",
		fx.Supply(cfg),
		fx.Provide(Fold, newEngine, newDependencies, fx.Annotate(newStore, fx.OnStop((*online.Store).Close))),
		service.Migrations(online.Migrations),
		service.Effects(materialiseEffect, trainingSetEffect),
		service.Loops(followLoop, pushedLoop),
		fx.Invoke(routes),
	)
}

func newEngine(cfg Config, paths service.Paths) (*duckdb.Engine, error) {
	// Sessions: two for serving, the others for effects.
	return duckdb.Open(context.Background(), duckdb.Options{MemoryLimit: cfg.Memory, Threads: cfg.Threads, TempDir: paths.TempDir, Sessions: 5})
}

func newDependencies(pool *pgxpool.Pool, store *objects.Store, engine *duckdb.Engine) *effect.Dependencies {
	return &effect.Dependencies{State: pool, Objects: store, Engine: engine}
}

func newStore(cfg Config, pool *pgxpool.Pool, log *eventlog.Log, store *objects.Store, client *kafka.Client, engine *duckdb.Engine,
	c clock.Clock, logger *slog.Logger) *online.Store {
	return online.New(online.Options{Pool: pool, Changed: log.Changed, Objects: store, Kafka: client, Engine: engine,
		Clock: c, Idle: cfg.IdleAfter, Logger: logger})
}

func materialiseEffect(cfg Config, w *effect.Dependencies) eventlog.Handler {
	return w.Materialise(cfg.MaterialiseTimeout, 2)
}

func trainingSetEffect(cfg Config, w *effect.Dependencies) eventlog.Handler {
	return w.TrainingSet(cfg.TrainingSetTimeout)
}

func followLoop(s *online.Store) service.Loop {
	return service.Loop{Name: "online store", Run: s.Follow, Behind: s.Behind}
}

func pushedLoop(s *online.Store) service.Loop {
	return service.Loop{Name: "pushed rows", Run: s.Consume, Behind: s.Lag}
}

func routes(mux *web.Mux, log *eventlog.Log, cfg Config, store *online.Store, logger *slog.Logger) {
	e := &edge.Edge{
		Store: store, State: log.State(), Logger: logger,
		BodyLimit: cfg.BodyLimit, PushTimeout: cfg.PushTimeout, ListLimit: cfg.ListLimit,
	}
	e.Register(mux)
}

package ingestion

import (
	"log/slog"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/ingestion/internal/edge"
	"github.com/freshet-io/freshet/services/ingestion/internal/effect"
	"github.com/freshet-io/freshet/services/ingestion/internal/git"
	"github.com/freshet-io/freshet/services/ingestion/internal/inputs"
	"github.com/freshet-io/freshet/services/ingestion/internal/sqlcheck"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its effects, its loops and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("ingestion",
		fx.Supply(cfg),
		fx.Provide(Fold, newEngine, fx.Annotate(sqlcheck.New, fx.OnStop((*sqlcheck.Checker).Close)), newGit,
			newFiles, inputs.New, edge.NewIntake, edge.NewFromNATS, edge.NewFromKafka, newWatch),
		service.Migrations(inputs.Migrations),
		service.Effects(checkEffect, archiveEffect),
		service.Loops(natsLoop, kafkaLoop, watchLoop),
		fx.Invoke(routes),
	)
}

func newFiles(cfg Config, store *objects.Store) *edge.Files {
	return &edge.Files{Objects: store, Inbox: cfg.Inbox, Limit: cfg.MaxFile}
}

func newWatch(l *eventlog.Log, g *git.Runner, cfg Config, logger *slog.Logger, metrics prometheus.Registerer) (*edge.Watch, error) {
	return edge.NewWatch(l, g, cfg.PollLocal, cfg.PollRemote, logger, metrics)
}

func checkEffect(pool *pgxpool.Pool, store *objects.Store, engine *duckdb.Engine, c clock.Clock, p service.Paths, cfg Config) eventlog.Handler {
	return (&effect.Check{State: pool, Objects: store, Engine: engine, Clock: c, Temp: p.TempDir, AtOnce: cfg.Checks}).Handler()
}

func archiveEffect(pool *pgxpool.Pool, store *objects.Store, g *git.Runner, sql *sqlcheck.Checker, p service.Paths, cfg Config) eventlog.Handler {
	return (&effect.Archive{State: pool, Objects: store, Git: g, SQL: sql, Temp: p.TempDir, Fetches: cfg.Fetches}).Handler()
}

func natsLoop(n *edge.FromNATS) service.Loop {
	return service.Loop{Name: "nats", Run: n.Run, Behind: n.Behind}
}

func kafkaLoop(k *edge.FromKafka) service.Loop {
	return service.Loop{Name: "kafka", Run: k.Run, Behind: k.Behind}
}

func watchLoop(w *edge.Watch) service.Loop {
	return service.Loop{Name: "repositories", Run: w.Run, Behind: w.Behind}
}

func routes(mux *web.Mux, log *eventlog.Log, cfg Config, intake *edge.Intake, watch *edge.Watch, sql *sqlcheck.Checker, logger *slog.Logger) {
	intake.Register(mux)
	edge.NewRepositories(log, watch, cfg.LocalGit, cfg.GitHubSecret, logger).Register(mux)
	edge.NewValidator(sql).Register(mux)
}

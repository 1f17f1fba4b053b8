package ingestion

import (
	"context"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/ingestion/internal/decide"
	"github.com/freshet-io/freshet/services/ingestion/internal/edge"
	"github.com/freshet-io/freshet/services/ingestion/internal/effect"
	"github.com/freshet-io/freshet/services/ingestion/internal/git"
	"github.com/freshet-io/freshet/services/ingestion/internal/sqlcheck"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"
)

// Module is the whole service.
func Module(cfg Config) fx.Option {
	return fx.Module("ingestion",
		fx.Supply(cfg),
		fx.Provide(newFold, newEngine, newChecker, newGit, newFiles, newWatch, edge.NewIntake, edge.NewFromNATS, edge.NewFromKafka, newRepositories,
			fx.Annotate(newCheck, fx.ResultTags(`group:"effects"`)), fx.Annotate(newArchive, fx.ResultTags(`group:"effects"`)),
			fx.Annotate(migrations, fx.ResultTags(`group:"migrations"`)),
			fx.Annotate(loops, fx.ResultTags(`group:"loops,flatten"`)), fx.Annotate(progress, fx.ResultTags(`group:"progress,flatten"`))),
		fx.Invoke(routes),
	)
}

func newFold() *eventlog.Fold {
	f := state.New()
	decide.Register(f)
	return f
}

func newEngine(cfg Config, p service.Paths) (*duckdb.Engine, error) {
	return duckdb.Open(context.Background(), duckdb.Options{MemoryLimit: cfg.CheckMemory, Threads: 2, TempDir: filepath.Join(p.TempDir, "duckdb"), Sessions: cfg.Checks + 1})
}

func newChecker(engine *duckdb.Engine, lc fx.Lifecycle) *sqlcheck.Checker {
	c := sqlcheck.New(engine)
	lc.Append(fx.StopHook(c.Close))
	return c
}

func newGit(cfg Config, p service.Paths) (*git.Runner, error) {
	return git.New(filepath.Join(p.TempDir, "git"), cfg.LocalGit)
}

func newFiles(cfg Config, store *objects.Store) *edge.Files {
	return &edge.Files{Objects: store, Inbox: cfg.Inbox, Limit: cfg.MaxFile}
}

func newCheck(pool *pgxpool.Pool, store *objects.Store, engine *duckdb.Engine, c clock.Clock, p service.Paths, cfg Config) eventlog.Handler {
	return (&effect.Check{State: pool, Objects: store, Engine: engine, Clock: c, Temp: p.TempDir, AtOnce: cfg.Checks}).Handler()
}

func newArchive(pool *pgxpool.Pool, store *objects.Store, g *git.Runner, sql *sqlcheck.Checker, p service.Paths, cfg Config) eventlog.Handler {
	return (&effect.Archive{State: pool, Objects: store, Git: g, SQL: sql, Temp: p.TempDir, Fetches: cfg.Fetches}).Handler()
}

func newWatch(l *eventlog.Log, g *git.Runner, cfg Config, logger *slog.Logger, metrics prometheus.Registerer) (*edge.Watch, error) {
	return edge.NewWatch(l, g, cfg.PollLocal, cfg.PollRemote, logger, metrics)
}

func newRepositories(l *eventlog.Log, w *edge.Watch, cfg Config, logger *slog.Logger) *edge.Repositories {
	return edge.NewRepositories(l, w, cfg.LocalGit, cfg.GitHubSecret, logger)
}

func migrations() (service.Migrations, error) {
	sub, err := fs.Sub(edge.Migrations, "migrations")
	return service.Migrations{FS: sub}, err
}

func loops(n *edge.FromNATS, k *edge.FromKafka, w *edge.Watch) []service.Loop {
	return []service.Loop{{Name: "nats", Run: n.Run}, {Name: "kafka", Run: k.Run}, {Name: "watch", Run: w.Run}}
}

func progress(n *edge.FromNATS, k *edge.FromKafka, w *edge.Watch) []service.Progress {
	return []service.Progress{{Name: "nats", Behind: n.Behind}, {Name: "kafka", Behind: k.Behind}, {Name: "repositories", Behind: w.Behind}}
}

func routes(m *web.Mux, i *edge.Intake, r *edge.Repositories, sql *sqlcheck.Checker) {
	i.Routes(m)
	r.Routes(m)
	edge.NewValidator(sql).Routes(m)
}

package training

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/training/internal/decide"
	"github.com/freshet-io/freshet/services/training/internal/edge"
	"github.com/freshet-io/freshet/services/training/internal/effect"
	"github.com/freshet-io/freshet/services/training/internal/executor"
	"github.com/freshet-io/freshet/services/training/internal/logistic"
	"github.com/freshet-io/freshet/services/training/internal/state"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/fx"
)

// maxModelBytes is how large a model may be; its reader takes no larger one.
const maxModelBytes = 64 << 20

// RunBuiltin makes this process a training job, if it was started to be one, and
// does not return then. Every program that holds the training service calls it
// first thing in main: jobs are launched, and limited, by the program's own binary.
func RunBuiltin() (handled bool) { return executor.Launch(builtins()) }

func builtins() map[string]executor.Builtin {
	return map[string]executor.Builtin{logistic.Name: logistic.Train}
}

// Module is the whole service: its fold, its effects and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("training",
		fx.Supply(cfg),
		fx.Provide(
			newFold,
			newEffects,
			fx.Annotate((*effect.Effects).Run, fx.ResultTags(`group:"effects"`)),
			fx.Annotate((*effect.Effects).Measure, fx.ResultTags(`group:"effects"`)),
			fx.Annotate((*effect.Effects).Refuse, fx.ResultTags(`group:"effects"`)),
		),
		fx.Invoke(routes),
	)
}

func newFold() *eventlog.Fold {
	fold := eventlog.NewFold("training", state.FoldVersion, state.Tables)
	state.Register(fold)
	decide.Register(fold)
	return fold
}

func newEffects(cfg Config, pool *pgxpool.Pool, store *objects.Store, paths service.Paths, logger *slog.Logger) (*effect.Effects, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &effect.Effects{
		State: pool, Objects: store, Builtins: builtins(), Logs: &effect.Logs{}, Logger: logger,
		Executor: &executor.Executor{Program: program, Grace: cfg.Grace, DiskBytes: cfg.DiskBytes, Processes: cfg.Processes, Logger: logger},
		TempDir:  paths.TempDir, Checkpoints: filepath.Join(paths.DataDir, "checkpoints"),
		LogBytes: cfg.LogBytes, CodeBytes: cfg.CodeBytes, ModelBytes: maxModelBytes,
		Timeout: cfg.Timeout, Attempts: cfg.Attempts, Jobs: cfg.Jobs,
	}, nil
}

func routes(cfg Config, mux *web.Mux, log *eventlog.Log, store *objects.Store, effects *effect.Effects) {
	x := edge.Edge{State: log.State(), Log: log, Objects: store, Live: effects.Logs, Limit: cfg.ListLimit, LogBytes: int64(cfg.LogBytes) * 2}
	x.Register(mux)
}

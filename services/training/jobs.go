package training

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/training/internal/effect"
	"github.com/freshet-io/freshet/services/training/internal/executor"
	"github.com/freshet-io/freshet/services/training/internal/logistic"
	"github.com/jackc/pgx/v5/pgxpool"
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

func newEffects(cfg Config, pool *pgxpool.Pool, store *objects.Store, paths service.Paths, logger *slog.Logger) (*effect.Effects, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// A job starts elsewhere: its paths must not depend on where we are.
	data, err := filepath.Abs(paths.DataDir)
	if err != nil {
		return nil, err
	}
	temp, err := filepath.Abs(paths.TempDir)
	if err != nil {
		return nil, err
	}
	return &effect.Effects{
		State: pool, Objects: store, Builtins: builtins(), Logs: &effect.Logs{}, Logger: logger,
		Executor: &executor.Executor{Program: program, Grace: cfg.Grace, DiskBytes: cfg.DiskBytes, Processes: cfg.Processes,
			Hide: executor.Secrets(data, cfg.Hide), Required: cfg.Isolation == isolationRequired, Logger: logger},
		TempDir: temp, Checkpoints: filepath.Join(data, "checkpoints"),
		LogBytes: cfg.LogBytes, CodeBytes: cfg.CodeBytes, ModelBytes: maxModelBytes,
		Timeout: cfg.Timeout, Attempts: cfg.Attempts, Jobs: cfg.Jobs,
	}, nil
}

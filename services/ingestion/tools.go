package ingestion

import (
	"context"
	"path/filepath"

	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/ingestion/internal/git"
)

// newEngine opens DuckDB with a session for every check, and one for SQL that is
// declared.
func newEngine(cfg Config, paths service.Paths) (*duckdb.Engine, error) {
	return duckdb.Open(context.Background(), duckdb.Options{
		MemoryLimit: cfg.CheckMemory, Threads: 2, TempDir: filepath.Join(paths.TempDir, "duckdb"), Sessions: cfg.Checks + 1})
}

func newGit(cfg Config, paths service.Paths) (*git.Runner, error) {
	return git.New(filepath.Join(paths.TempDir, "git"), cfg.LocalGit)
}

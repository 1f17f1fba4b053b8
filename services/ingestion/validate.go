package ingestion

import (
	"context"
	"errors"
	"io/fs"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/services/ingestion/internal/spec"
	"github.com/freshet-io/freshet/services/ingestion/internal/sqlcheck"
)

// Validate explains every mistake in a repository's freshet.yaml, datasets/ and
// features/, as the service would. It knows this one directory: a name that may be
// defined in another repository is only a mistake where it looks like a slip.
func Validate(dir fs.FS) (problems []events.Problem, err error) {
	files, found, err := spec.Files(dir)
	if err != nil {
		return nil, err
	}
	engine, err := duckdb.Open(context.Background(), duckdb.Options{Threads: 1, MemoryLimit: "64MiB"})
	if err != nil {
		return nil, err
	}
	sql := sqlcheck.New(engine)
	defer func() { err = errors.Join(err, sql.Close()) }()
	return append(found, spec.Parse(files, spec.Options{SQL: sql}).Problems...), nil
}

package ingestion

import (
	"context"
	"errors"
	"io/fs"
	"strings"

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

// Model reads one model's definition out of a freshet.yaml, checked by itself: that
// the datasets and views it names exist is not.
func Model(file []byte, name string) (events.ModelSpec, []events.Problem) {
	defined := spec.Parse(map[string][]byte{"freshet.yaml": file}, spec.Options{})
	var names []string
	for _, m := range defined.Models {
		if m.Model == name {
			return m, defined.Problems
		}
		names = append(names, m.Model)
	}
	if len(names) == 0 && len(defined.Problems) > 0 {
		return events.ModelSpec{}, defined.Problems // which is why it defines none
	}
	fix := "it defines none: begin with model: " + name
	if len(names) > 0 {
		fix = "name one that it defines: " + strings.Join(names, ", ")
	}
	problem := events.Problem{File: "freshet.yaml", Line: 1, Message: "it does not define the model " + name, Fix: fix}
	return events.ModelSpec{}, append(defined.Problems, problem)
}

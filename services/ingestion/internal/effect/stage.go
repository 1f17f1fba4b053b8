package effect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
)

// rowColumn numbers the rows of an arrival, in the order of its files.
const rowColumn = "__row"

// column of the files as they came.
type column struct {
	name, typ string
}

// errUnreadable: a file is not what it says it is.
var errUnreadable = errors.New("unreadable")

// errSchema: the files lack a column, or have one that cannot be told apart.
type errSchema struct{ failures []events.RuleFailure }

func (e *errSchema) Error() string { return "schema" }

// stage loads the files as they are into the table raw.
func stage(ctx context.Context, s *duckdb.Session, files []events.ArrivedFile, paths []string) ([]column, error) {
	parts := make([]string, len(files))
	for i, f := range files {
		name := fmt.Sprintf("file_%d", i)
		if err := s.Exec(ctx, fmt.Sprintf("CREATE TABLE %s AS SELECT * FROM %s", name, reader(f.Format, paths[i]))); err != nil {
			return nil, unreadable(ctx, err)
		}
		parts[i] = "SELECT * FROM " + name
	}
	union := strings.Join(parts, " UNION ALL BY NAME ")
	if err := s.Exec(ctx, fmt.Sprintf("CREATE TABLE raw AS SELECT row_number() OVER () - 1 AS %s, * FROM (%s)", rowColumn, union)); err != nil {
		return nil, unreadable(ctx, err)
	}
	for i := range files {
		if err := s.Exec(ctx, fmt.Sprintf("DROP TABLE file_%d", i)); err != nil {
			return nil, err
		}
	}
	t, err := s.Select(ctx, "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'raw' ORDER BY column_index")
	if err != nil {
		return nil, err
	}
	var columns []column
	for i := range t.Rows {
		if name := t.Columns[0].Strings[i]; name != rowColumn {
			columns = append(columns, column{name, t.Columns[1].Strings[i]})
		}
	}
	return columns, nil
}

// reader is the table function that reads a file. Text columns of CSV stay text:
// what a column is, the spec says, not a guess from the day's values.
func reader(format, path string) string {
	switch format {
	case domain.Parquet:
		return "read_parquet(" + duckdb.Quote(path) + ", hive_partitioning=false)"
	case domain.JSONL:
		return "read_json(" + duckdb.Quote(path) + ", format='newline_delimited', records='true', hive_partitioning=false)"
	}
	return "read_csv(" + duckdb.Quote(path) + ", header=true, all_varchar=true, hive_partitioning=false, max_line_size=1048576)"
}

// unreadable tells a faulty file from faulty machinery.
func unreadable(ctx context.Context, err error) error {
	var de *duckdb.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &de) && (de.UsersFault() || de.Kind == duckdb.IO):
		return fmt.Errorf("%w: %s", errUnreadable, de.Message)
	}
	return err
}

// declared is a column that the spec speaks of, and its type.
type declared struct {
	name string
	typ  string // of the spec; empty: as it came
	expectation
}

type expectation = events.ColumnExpectation

// declaredColumns merges what the spec says of columns: expectations, keys, the
// time and columns that become known later.
func declaredColumns(d events.DatasetSpec) []declared {
	var out []declared
	add := func(name, typ string, e expectation) {
		for i := range out {
			if out[i].name == name {
				if out[i].typ == "" {
					out[i].typ = typ
				}
				return
			}
		}
		out = append(out, declared{name, typ, e})
	}
	for _, c := range d.Columns {
		add(c.Column, c.Type, c)
	}
	add(d.Time, "timestamp", expectation{Column: d.Time})
	for _, k := range d.Keys {
		add(k, "", expectation{Column: k})
	}
	for _, k := range d.KnownAt {
		add(k.Column, "", expectation{Column: k.Column})
	}
	return out
}

// missing reports declared columns that the files lack.
func missing(columns []column, wanted []declared) error {
	var failures []events.RuleFailure
	for _, w := range wanted {
		if !slices.ContainsFunc(columns, func(c column) bool { return c.name == w.name }) {
			failures = append(failures, events.RuleFailure{Rule: "column:" + w.name})
		}
	}
	if len(failures) > 0 {
		return &errSchema{failures}
	}
	return nil
}

var sqlType = map[string]string{"string": "VARCHAR", "int64": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "timestamp": "TIMESTAMP"}

// typed makes the table data, with every declared column in its type; a value
// that does not fit is null there and still itself in raw.
func typed(ctx context.Context, s *duckdb.Session, columns []column, wanted []declared) error {
	list := []string{rowColumn}
	for _, c := range columns {
		id := duckdb.Ident(c.name)
		i := slices.IndexFunc(wanted, func(w declared) bool { return w.name == c.name })
		switch {
		case i >= 0 && wanted[i].typ != "":
			list = append(list, cast(id, c.typ, wanted[i].typ)+" AS "+id)
		case plain(c.typ):
			list = append(list, id)
		default: // lists and structs of undeclared columns are kept as text
			list = append(list, "CAST("+id+" AS VARCHAR) AS "+id)
		}
	}
	return s.Exec(ctx, "CREATE TABLE data AS SELECT "+strings.Join(list, ", ")+" FROM raw")
}

// cast gives null for what does not fit. DuckDB would round 1.5 to an integer and
// take infinities for numbers.
func cast(id, from, to string) string {
	target := "TRY_CAST(" + id + " AS " + sqlType[to] + ")"
	switch {
	case to == "int64" && !strings.HasSuffix(from, "INT") && from != "INTEGER":
		return fmt.Sprintf("CASE WHEN TRY_CAST(%[1]s AS DOUBLE) = trunc(TRY_CAST(%[1]s AS DOUBLE)) THEN %[2]s END", id, target)
	case to == "float":
		return fmt.Sprintf("CASE WHEN isfinite(TRY_CAST(%[1]s AS DOUBLE)) THEN %[2]s END", id, target)
	}
	return target
}

func plain(typ string) bool {
	switch typ {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "FLOAT", "DOUBLE", "VARCHAR", "BOOLEAN",
		"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "DATE":
		return true
	}
	return strings.HasPrefix(typ, "DECIMAL")
}

package compute

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/parquet"
)

// Rows evaluates a windowed view over the relation Input of a session: one row
// for each of its rows that has a time and an entity. Columns: entity.<key>, key,
// time, and for each feature feature.<name> and, where its value becomes known
// later than the row's time, known.<name>. Times are int64 microseconds.
func Rows(ctx context.Context, s *duckdb.Session, v *View, dataset *events.DatasetSpec) (*parquet.Table, error) {
	sql, err := rowsSQL(v, dataset)
	if err != nil {
		return nil, err
	}
	t, err := s.Prepared(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("view %s: %w", v.Name, err)
	}
	loc, err := Location(dataset)
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", dataset.Dataset, err)
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Name == TimeColumn || strings.HasPrefix(c.Name, KnownPrefix) {
			toUTC(c.Ints, loc)
		}
		if c.Kind == parquet.Float { // NaN is no value; it has no place in a mask
			for row, ok := range c.Valid {
				if !ok {
					c.Floats[row] = math.NaN()
				}
			}
			c.Valid = nil
		}
	}
	return t, nil
}

func rowsSQL(v *View, dataset *events.DatasetSpec) (string, error) {
	var b strings.Builder
	b.WriteString("SELECT ")
	where := []string{duckdb.Ident(dataset.Time) + " IS NOT NULL"}
	for _, e := range v.Spec.Entity {
		fmt.Fprintf(&b, "CAST(%s AS VARCHAR) AS %s, ", duckdb.Ident(e.Column), duckdb.Ident(EntityPrefix+e.Key))
		where = append(where, duckdb.Ident(e.Column)+" IS NOT NULL")
	}
	if len(dataset.Keys) == 0 {
		return "", fmt.Errorf("dataset %s has no keys", dataset.Dataset)
	}
	fmt.Fprintf(&b, "%s AS %s, %s AS %s", keySQL(dataset.Keys), KeyColumn, timeSQL(dataset.Time), TimeColumn)
	for i, f := range v.Plan.Features {
		known, err := knownSQL(v.Mentions[i], dataset)
		if err != nil {
			return "", fmt.Errorf("view %s: feature %s: %w", v.Name, f.Name, err)
		}
		if known != "" {
			fmt.Fprintf(&b, ", %s AS %s", known, duckdb.Ident(KnownPrefix+f.Name))
		}
		value := "CAST((" + f.Expr + ") AS DOUBLE)"
		if f.Expr == "" {
			value = "1.0::DOUBLE"
		} else if f.IsCount() {
			value = "CASE WHEN (" + f.Expr + ") IS NOT NULL THEN 1.0::DOUBLE END"
		}
		fmt.Fprintf(&b, ", %s AS %s", value, duckdb.Ident(FeaturePrefix+f.Name))
	}
	fmt.Fprintf(&b, " FROM %s WHERE %s", duckdb.Ident(Input), strings.Join(where, " AND "))
	return b.String(), nil
}

// RowsOfFile evaluates a windowed view over one committed file.
func RowsOfFile(ctx context.Context, engine *duckdb.Engine, path string, v *View, dataset *events.DatasetSpec) (t *parquet.Table, err error) {
	err = engine.Do(ctx, func(s *duckdb.Session) error {
		if err := s.Files(ctx, Input, path); err != nil {
			return err
		}
		if err := s.Seal(ctx); err != nil {
			return err
		}
		t, err = Rows(ctx, s, v, dataset)
		return err
	})
	return t, err
}

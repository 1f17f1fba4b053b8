package compute

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/domain"
)

// Examples are rows of a dataset as a model is trained on them. Slices have one
// element per row, in the order of the files.
type Examples struct {
	Rows     int
	Key      []string         // the row's identity
	Time     []int64          // microseconds; null times are domain.Never
	Label    []float64        // NaN where there is none
	Known    []int64          // when the label becomes known; nil: at the row's time
	Kept     []parquet.Column // key columns, time column and request columns, by their own names
	Entities [][]string       // per windowed view: the entity's columns joined by KeySeparator
	Requests [][][]float64    // per on-demand view, per feature
}

// ReadExamples evaluates a model's examples over the relation Input.
func ReadExamples(ctx context.Context, s *duckdb.Session, model *events.ModelSpec, dataset *events.DatasetSpec, windowed, onDemand []*View) (*Examples, error) {
	q, err := examplesSQL(model, dataset, windowed)
	if err != nil {
		return nil, err
	}
	t, err := s.Select(ctx, q.sql)
	if err != nil {
		return nil, err
	}
	loc, err := Location(dataset)
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", dataset.Dataset, err)
	}
	next := func() *parquet.Column { c := &t.Columns[0]; t.Columns = t.Columns[1:]; return c }
	e := &Examples{Rows: t.Rows, Key: next().Strings}
	at := next()
	e.Time = at.Ints
	for i, ok := range at.Valid {
		if !ok {
			e.Time[i] = domain.Never
		}
	}
	wall := append([]int64(nil), e.Time...)
	toUTC(e.Time, loc)
	label := next()
	e.Label = label.Floats
	for i, ok := range label.Valid {
		if !ok {
			e.Label[i] = math.NaN()
		}
	}
	if q.known {
		e.Known = next().Ints
		toUTC(e.Known, loc)
	}
	for _, name := range q.kept {
		c := *next()
		if name.time {
			c.Kind, c.Times, c.Ints = parquet.Time, c.Ints, nil
		}
		if name.name == dataset.Time {
			c = parquet.Column{Kind: parquet.Time, Times: wall, Valid: at.Valid}
		}
		c.Name = name.name
		e.Kept = append(e.Kept, c)
	}
	for range windowed {
		e.Entities = append(e.Entities, next().Strings)
	}
	for _, v := range onDemand {
		values, err := OnDemandOfRows(ctx, s, v, model.Request)
		if err != nil {
			return nil, err
		}
		if len(values) > 0 && len(values[0]) != e.Rows {
			return nil, fmt.Errorf("view %s: %d rows became %d; a feature must give one value for each row", v.Name, e.Rows, len(values[0]))
		}
		e.Requests = append(e.Requests, values)
	}
	return e, nil
}

type keptColumn struct {
	name string
	time bool // selected as microseconds
}

type examplesQuery struct {
	sql   string
	known bool
	kept  []keptColumn
}

func examplesSQL(model *events.ModelSpec, dataset *events.DatasetSpec, windowed []*View) (*examplesQuery, error) {
	if len(dataset.Keys) == 0 {
		return nil, fmt.Errorf("dataset %s has no keys", dataset.Dataset)
	}
	mentioned, err := domain.Mentions(model.Examples.Label)
	if err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	known, err := knownSQL(mentioned, dataset)
	if err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	q := &examplesQuery{known: known != ""}
	parts := []string{keySQL(dataset.Keys), timeSQL(dataset.Time), "CAST((" + model.Examples.Label + ") AS DOUBLE)"}
	if q.known {
		parts = append(parts, known)
	}
	seen := map[string]bool{}
	for _, c := range append(append([]string(nil), dataset.Keys...), dataset.Time) {
		if seen[c] {
			continue
		}
		seen[c] = true
		q.kept = append(q.kept, keptColumn{name: c})
		parts = append(parts, duckdb.Ident(c))
	}
	for _, f := range model.Request {
		if seen[f.Name] {
			continue
		}
		seen[f.Name] = true
		q.kept = append(q.kept, keptColumn{f.Name, f.Type == "timestamp"})
		expr := "CAST(" + duckdb.Ident(f.Name) + " AS " + sqlType(f.Type) + ")"
		if f.Type == "timestamp" {
			expr = timeSQL(f.Name)
		}
		parts = append(parts, expr)
	}
	for _, v := range windowed {
		keys := make([]string, len(v.Spec.Entity))
		for i, e := range v.Spec.Entity {
			keys[i] = "CAST(" + duckdb.Ident(e.Column) + " AS VARCHAR)"
		}
		parts = append(parts, strings.Join(keys, " || chr(31) || "))
	}
	for i := range parts {
		parts[i] += fmt.Sprintf(" AS c%d", i)
	}
	q.sql = "SELECT " + strings.Join(parts, ", ") + " FROM " + duckdb.Ident(Input)
	return q, nil
}

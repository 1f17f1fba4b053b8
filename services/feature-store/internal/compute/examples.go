package compute

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
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

// ReadExamples evaluates a model's examples over files, which are the relation
// Input of the session. What is a plain column is read as it is; DuckDB evaluates
// what is an expression.
func ReadExamples(ctx context.Context, s *duckdb.Session, model *events.ModelSpec, dataset *events.DatasetSpec, paths []string, windowed,
	onDemand []*View) (*Examples, error) {
	plain, err := readPlain(model, dataset, paths, windowed)
	if err != nil {
		return nil, err
	}
	q, err := examplesSQL(model, dataset, windowed, plain)
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
	e := &Examples{Rows: t.Rows}
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
	if plain != nil {
		if plain.Rows != t.Rows {
			return nil, fmt.Errorf("label %q: %d rows became %d; a label must give one value for each row", model.Examples.Label, plain.Rows, t.Rows)
		}
		e.fromPlain(plain, model, dataset, windowed)
	} else {
		e.fromSQL(next, q, windowed)
	}
	times := e.kept(dataset.Time)
	e.Time = append([]int64(nil), times.Times...)
	for i, ok := range times.Valid {
		if !ok {
			e.Time[i] = domain.Never
		}
	}
	toUTC(e.Time, loc)
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

func (e *Examples) kept(name string) *parquet.Column {
	return (&parquet.Table{Columns: e.Kept}).Column(name)
}

// names lists the columns that are kept: keys, time and the request's.
func names(model *events.ModelSpec, dataset *events.DatasetSpec) []events.TypedField {
	var out []events.TypedField
	add := func(name, typ string) {
		for _, f := range out {
			if f.Name == name {
				return
			}
		}
		out = append(out, events.TypedField{Name: name, Type: typ})
	}
	for _, k := range dataset.Keys {
		add(k, "")
	}
	add(dataset.Time, "timestamp")
	for _, f := range model.Request {
		add(f.Name, f.Type)
	}
	return out
}

// readPlain reads the kept and entity columns from the files themselves. Nil where
// SQL has to convert one of them.
func readPlain(model *events.ModelSpec, dataset *events.DatasetSpec, paths []string, windowed []*View) (*parquet.Table, error) {
	wanted := names(model, dataset)
	for _, v := range windowed {
		for _, k := range v.Spec.Entity {
			if !slices.ContainsFunc(wanted, func(f events.TypedField) bool { return f.Name == k.Column }) {
				wanted = append(wanted, events.TypedField{Name: k.Column})
			}
		}
	}
	columns := make([]string, len(wanted))
	for i, f := range wanted {
		columns[i] = f.Name
	}
	var all *parquet.Table
	for _, path := range paths {
		t, err := parquet.Read(path, columns...)
		var missing *parquet.MissingError
		var unsupported *parquet.UnsupportedError
		if errors.As(err, &missing) || errors.As(err, &unsupported) {
			return nil, nil // DuckDB finds names in any case, and says it better
		}
		if err != nil {
			return nil, err
		}
		for i, f := range wanted {
			kind := t.Columns[i].Kind.String()
			isText := kind == "string" || kind == "int64"
			if f.Type == "" && !isText || f.Type != "" && f.Type != kind {
				return nil, nil
			}
		}
		if all == nil {
			all = t
		} else if all.Append(t) != nil {
			return nil, nil
		}
	}
	return all, nil
}

func (e *Examples) fromPlain(t *parquet.Table, model *events.ModelSpec, dataset *events.DatasetSpec, windowed []*View) {
	e.Key = joined(t, dataset.Keys, "\x00")
	for _, f := range names(model, dataset) {
		e.Kept = append(e.Kept, *t.Column(f.Name))
	}
	for _, v := range windowed {
		columns := make([]string, len(v.Spec.Entity))
		for i, k := range v.Spec.Entity {
			columns[i] = k.Column
		}
		e.Entities = append(e.Entities, joined(t, columns, ""))
	}
}

// joined writes columns of text and whole numbers as keySQL does.
func joined(t *parquet.Table, columns []string, null string) []string {
	text := func(c *parquet.Column, row int) string {
		switch {
		case !c.Has(row):
			return null
		case c.Kind == parquet.Int:
			return strconv.FormatInt(c.Ints[row], 10)
		}
		return c.Strings[row]
	}
	first := t.Column(columns[0])
	if len(columns) == 1 && first.Kind == parquet.String && first.Valid == nil {
		return first.Strings
	}
	out := make([]string, t.Rows)
	for row := range out {
		out[row] = text(first, row)
		for _, c := range columns[1:] {
			out[row] += KeySeparator + text(t.Column(c), row)
		}
	}
	return out
}

// fromSQL takes what examplesSQL selected after label and known.
func (e *Examples) fromSQL(next func() *parquet.Column, q *examplesQuery, windowed []*View) {
	e.Key = next().Strings
	for _, f := range q.kept {
		c := *next()
		c.Name = f.Name
		if f.Type == "timestamp" {
			c.Kind, c.Times, c.Ints = parquet.Time, c.Ints, nil
		}
		e.Kept = append(e.Kept, c)
	}
	for range windowed {
		e.Entities = append(e.Entities, next().Strings)
	}
}

type examplesQuery struct {
	sql   string
	known bool
	kept  []events.TypedField // selected after label, known and key
}

func examplesSQL(model *events.ModelSpec, dataset *events.DatasetSpec, windowed []*View, plain *parquet.Table) (*examplesQuery, error) {
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
	parts := []string{"CAST((" + model.Examples.Label + ") AS DOUBLE)"}
	if q.known {
		parts = append(parts, known)
	}
	if plain == nil {
		q.kept = names(model, dataset)
		parts = append(parts, keySQL(dataset.Keys))
		for _, f := range q.kept {
			switch f.Type {
			case "":
				parts = append(parts, duckdb.Ident(f.Name))
			case "timestamp":
				parts = append(parts, timeSQL(f.Name))
			default:
				parts = append(parts, "CAST("+duckdb.Ident(f.Name)+" AS "+sqlType(f.Type)+")")
			}
		}
		for _, v := range windowed {
			keys := make([]string, len(v.Spec.Entity))
			for i, e := range v.Spec.Entity {
				keys[i] = "coalesce(CAST(" + duckdb.Ident(e.Column) + " AS VARCHAR), '')"
			}
			parts = append(parts, strings.Join(keys, " || chr(31) || "))
		}
	}
	for i := range parts {
		parts[i] += fmt.Sprintf(" AS c%d", i)
	}
	q.sql = "SELECT " + strings.Join(parts, ", ") + " FROM " + duckdb.Ident(Input)
	return q, nil
}

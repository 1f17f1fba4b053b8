package effect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/services/ingestion/internal/decide"
)

// queryTime is how long one SQL check of a dataset may take.
const queryTime = time.Minute

// findings of the checks: the table failures has the failing rows, whole the
// checks that failed without saying for which rows.
type findings struct {
	rules []events.RuleFailure
	whole []events.RuleFailure
}

// expectations fills the table failures (row, rule, hard). A hard failure leaves
// no usable row: a value of the wrong type, no key, no time, a key's second row.
func expectations(ctx context.Context, s *duckdb.Session, d events.DatasetSpec, wanted []declared) error {
	if err := s.Exec(ctx, "CREATE TABLE failures ("+rowColumn+" BIGINT, rule VARCHAR, hard BOOLEAN)"); err != nil {
		return err
	}
	fail := func(rule string, hard bool, from string) error {
		return s.Exec(ctx, fmt.Sprintf("INSERT INTO failures SELECT data.%s, %s, %t FROM data JOIN raw USING (%s) WHERE %s", rowColumn, duckdb.Quote(rule),
			hard, rowColumn, from))
	}
	for _, w := range wanted {
		id := duckdb.Ident(w.name)
		if w.typ != "" {
			if err := fail("type:"+w.name, true, fmt.Sprintf("raw.%s IS NOT NULL AND data.%s IS NULL", id, id)); err != nil {
				return err
			}
		}
		if w.Nulls != nil {
			// Missing values are the rows' fault only where there are more than allowed.
			if err := fail("nulls:"+w.name, false, fmt.Sprintf("raw.%s IS NULL AND (SELECT count(*) FROM raw WHERE %s IS NULL) > %s * (SELECT count(*) FROM raw)",
				id, id, number(*w.Nulls))); err != nil {
				return err
			}
		}
		if w.Min != nil && w.Max != nil {
			if err := fail("range:"+w.name, false, fmt.Sprintf("data.%s NOT BETWEEN %s AND %s", id, number(*w.Min), number(*w.Max))); err != nil {
				return err
			}
		}
		if len(w.Values) > 0 {
			allowed := make([]string, len(w.Values))
			for i, v := range w.Values {
				allowed[i] = duckdb.Quote(v)
			}
			if err := fail("values:"+w.name, false, fmt.Sprintf("CAST(data.%s AS VARCHAR) NOT IN (%s)", id, strings.Join(allowed, ", "))); err != nil {
				return err
			}
		}
	}
	keys := make([]string, len(d.Keys))
	nulls := make([]string, len(d.Keys))
	for i, k := range d.Keys {
		keys[i] = "data." + duckdb.Ident(k)
		nulls[i] = keys[i] + " IS NULL"
	}
	if err := fail("key:missing", true, strings.Join(nulls, " OR ")); err != nil {
		return err
	}
	if err := fail("key:duplicate", true, fmt.Sprintf("data.%[1]s IN (SELECT %[1]s "+
		"FROM (SELECT %[1]s, row_number() OVER (PARTITION BY %[2]s ORDER BY %[1]s) AS n FROM data) WHERE n > 1)",
		rowColumn, strings.Join(keys, ", "))); err != nil {
		return err
	}
	return fail("time:missing", true, "data."+duckdb.Ident(d.Time)+" IS NULL AND raw."+duckdb.Ident(d.Time)+" IS NULL")
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) + "::DOUBLE" }

// queries runs the dataset's own SQL checks, in the sealed session. A check that
// selects whole rows names the failing ones; any other that returns something
// fails the arrival as a whole.
func queries(ctx context.Context, s *duckdb.Session, checks []events.SQLExpression, f *findings) error {
	for _, check := range checks {
		err := query(ctx, s, check, f)
		var de *duckdb.Error
		switch {
		case err == nil:
		case errors.As(err, &de) && de.UsersFault():
			return &errSchema{[]events.RuleFailure{{Rule: "sql:" + check.Name}}}
		case errors.As(err, &de) && (de.Kind == duckdb.OutOfMemory || de.Kind == duckdb.Interrupted) && ctx.Err() == nil,
			errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			f.whole = append(f.whole, events.RuleFailure{Rule: decide.WholePrefix + "sql:" + check.Name + ":limit"})
		default:
			return err
		}
	}
	return nil
}

func query(ctx context.Context, s *duckdb.Session, check events.SQLExpression, f *findings) error {
	bounded, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	sql := strings.TrimRight(strings.TrimSpace(check.SQL), "; \n\t")
	rows, err := s.Select(bounded, fmt.Sprintf("SELECT DISTINCT %s FROM (%s\n) AS offending", rowColumn, sql))
	if err == nil {
		if rows.Rows == 0 {
			return nil
		}
		list := make([]string, 0, rows.Rows)
		for i := range rows.Rows {
			if rows.Columns[0].Has(i) {
				list = append(list, fmt.Sprintf("(%d::BIGINT, %s, false)", int64(rows.Columns[0].Number(i)), duckdb.Quote("sql:"+check.Name)))
			}
		}
		for len(list) > 0 {
			n := min(len(list), 1000)
			if err := s.Exec(ctx, "INSERT INTO failures VALUES "+strings.Join(list[:n], ", ")); err != nil {
				return err
			}
			list = list[n:]
		}
		return nil
	}
	var de *duckdb.Error
	if !errors.As(err, &de) || de.Kind != duckdb.Unknown {
		return err
	}
	// The check does not return the rows themselves, or is itself in error: then
	// counting fails as well.
	n, err := s.Select(bounded, fmt.Sprintf("SELECT count(*) FROM (%s\n) AS offending", sql))
	if err != nil {
		return err
	}
	if count := int64(n.Columns[0].Number(0)); count > 0 {
		f.whole = append(f.whole, events.RuleFailure{Rule: decide.WholePrefix + "sql:" + check.Name, Rows: count})
	}
	return nil
}

// tally counts the failures per rule.
func tally(ctx context.Context, s *duckdb.Session, f *findings) error {
	t, err := s.Select(ctx, "SELECT rule, count(DISTINCT "+rowColumn+") FROM failures GROUP BY rule ORDER BY rule")
	if err != nil {
		return err
	}
	for i := range t.Rows {
		f.rules = append(f.rules, events.RuleFailure{Rule: t.Columns[0].Strings[i], Rows: int64(t.Columns[1].Number(i))})
	}
	return nil
}

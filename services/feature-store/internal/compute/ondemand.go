package compute

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/parquet"
)

// RequestInput is the relation that on-demand views are evaluated over: the
// request's columns, of the declared types, and nothing else.
const RequestInput = "freshet request"

func sqlType(field string) string {
	switch field {
	case "int64":
		return "BIGINT"
	case "float":
		return "DOUBLE"
	case "bool":
		return "BOOLEAN"
	case "timestamp":
		return "TIMESTAMP"
	}
	return "VARCHAR"
}

func onDemandSQL(v *View, from string) string {
	parts := make([]string, len(v.Spec.Features))
	for i, f := range v.Spec.Features {
		parts[i] = "CAST((" + f.SQL + ") AS DOUBLE) AS " + duckdb.Ident(f.Name)
	}
	return "SELECT " + strings.Join(parts, ", ") + " FROM (" + from + ") AS " + duckdb.Ident(RequestInput)
}

// requestSQL projects a dataset's rows to what a request would say of them.
func requestSQL(fields []events.TypedField) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = fmt.Sprintf("CAST(%s AS %s) AS %s", duckdb.Ident(f.Name), sqlType(f.Type), duckdb.Ident(f.Name))
	}
	if len(parts) == 0 {
		parts = []string{"1 AS nothing"}
	}
	return "SELECT " + strings.Join(parts, ", ") + " FROM " + duckdb.Ident(Input)
}

// OnDemandOfRows evaluates an on-demand view for every row of the relation Input,
// in its order, with nothing but the request's fields to be seen.
func OnDemandOfRows(ctx context.Context, s *duckdb.Session, v *View, fields []events.TypedField) ([][]float64, error) {
	t, err := s.Select(ctx, onDemandSQL(v, requestSQL(fields)))
	if err != nil {
		return nil, fmt.Errorf("view %s: %w", v.Name, err)
	}
	return floats(t), nil
}

func floats(t *parquet.Table) [][]float64 {
	out := make([][]float64, len(t.Columns))
	for i := range t.Columns {
		c := &t.Columns[i]
		out[i] = c.Floats
		for row, ok := range c.Valid {
			if !ok {
				out[i][row] = math.NaN()
			}
		}
	}
	return out
}

// A RequestColumn is one field of a batch of requests. Values are nil, string,
// int64, float64, bool or time.Time, all of Field's type.
type RequestColumn struct {
	Field  events.TypedField
	Values []any
}

// An OnDemand evaluates on-demand views over requests. It keeps its statements
// prepared in a sealed session, which it opens at the first request and gives back
// when none came for a while.
type OnDemand struct {
	engine *duckdb.Engine
	idle   time.Duration

	mu      sync.Mutex
	session *duckdb.Session
	timer   *time.Timer
	closed  bool
}

// NewOnDemand returns an evaluator whose session is closed after idle.
func NewOnDemand(engine *duckdb.Engine, idle time.Duration) *OnDemand {
	return &OnDemand{engine: engine, idle: idle}
}

// Close gives the session back for good.
func (o *OnDemand) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return o.release()
}

func (o *OnDemand) release() error {
	if o.timer != nil {
		o.timer.Stop()
	}
	if o.session == nil {
		return nil
	}
	s := o.session
	o.session = nil
	return s.Close()
}

// Eval returns one slice for each feature of the view.
func (o *OnDemand) Eval(ctx context.Context, v *View, columns []RequestColumn, rows int) ([][]float64, error) {
	from := make([]string, 0, len(columns))
	args := make([]any, 0, len(columns))
	for i, c := range columns {
		from = append(from, fmt.Sprintf("unnest($%d::%s[]) AS %s", i+1, sqlType(c.Field.Type), duckdb.Ident(c.Field.Name)))
		args = append(args, c.Values)
	}
	if len(columns) == 0 {
		from, args = []string{"unnest(range($1::BIGINT)) AS nothing"}, []any{int64(rows)}
	}
	sql := onDemandSQL(v, "SELECT "+strings.Join(from, ", "))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, errors.New("the feature store is shutting down")
	}
	if o.session == nil {
		s, err := o.engine.Session(ctx)
		if err != nil {
			return nil, err
		}
		if err := s.Seal(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		o.session = s
		o.timer = time.AfterFunc(o.idle, o.expire)
	} else {
		o.timer.Reset(o.idle)
	}
	t, err := o.session.Prepared(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("view %s: %w", v.Name, err)
	}
	if t.Rows != rows {
		return nil, fmt.Errorf("view %s: %d rows became %d; a feature must give one value for each row", v.Name, rows, t.Rows)
	}
	return floats(t), nil
}

func (o *OnDemand) expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.release()
}

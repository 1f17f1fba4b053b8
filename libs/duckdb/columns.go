package duckdb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"
	"github.com/freshet-io/freshet/libs/parquet"
)

// run executes a prepared SELECT and gathers its columns.
func run(ctx context.Context, st *duck.Stmt, sql string, args []any) (*parquet.Table, error) {
	rows, err := st.QueryContext(ctx, named(args))
	if err != nil {
		return nil, wrap(err, sql)
	}
	defer func() { _ = rows.Close() }()
	types := rows.(driver.RowsColumnTypeDatabaseTypeName)
	names := rows.Columns()
	t := &parquet.Table{Columns: make([]parquet.Column, len(names))}
	for i, name := range names {
		kind, ok := kindOf(types.ColumnTypeDatabaseTypeName(i))
		if !ok {
			return nil, &Error{Kind: Invalid, SQL: sql, Message: fmt.Sprintf("column %q has type %s; cast it to a number, text, boolean or timestamp", name,
				types.ColumnTypeDatabaseTypeName(i))}
		}
		t.Columns[i] = parquet.Column{Name: name, Kind: kind}
		makeSlice(&t.Columns[i])
	}
	row := make([]driver.Value, len(names))
	for {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, wrap(err, sql)
		}
		for i := range row {
			if !appendValue(&t.Columns[i], row[i], t.Rows) {
				return nil, &Error{Kind: Invalid, SQL: sql, Message: fmt.Sprintf("column %q: a value of type %T is not supported", names[i], row[i])}
			}
		}
		t.Rows++
		if t.Rows&0xfff == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return t, ctx.Err()
}

func makeSlice(c *parquet.Column) {
	switch c.Kind {
	case parquet.Float:
		c.Floats = []float64{}
	case parquet.Int:
		c.Ints = []int64{}
	case parquet.String:
		c.Strings = []string{}
	case parquet.Bool:
		c.Bools = []bool{}
	case parquet.Time:
		c.Times = []int64{}
	}
}

func kindOf(typ string) (parquet.Kind, bool) {
	if strings.HasPrefix(typ, "DECIMAL") {
		return parquet.Float, true
	}
	if strings.HasPrefix(typ, "ENUM") {
		return parquet.String, true
	}
	switch typ {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT":
		return parquet.Int, true
	case "FLOAT", "DOUBLE", "HUGEINT", "UHUGEINT":
		return parquet.Float, true
	case "VARCHAR", "UUID", "BLOB", "SQLNULL", "NULL":
		return parquet.String, true
	case "BOOLEAN":
		return parquet.Bool, true
	case "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ", "DATE":
		return parquet.Time, true
	}
	return 0, false
}

// appendValue adds a value as the driver returns it. It says no to a value that
// does not fit the column.
func appendValue(c *parquet.Column, v driver.Value, row int) bool {
	if c.Valid != nil {
		c.Valid = append(c.Valid, v != nil)
	} else if v == nil {
		c.Valid = make([]bool, row+1, max(row+1, 64))
		for i := range row {
			c.Valid[i] = true
		}
	}
	switch c.Kind {
	case parquet.Float:
		f, ok := toFloat(v)
		c.Floats = append(c.Floats, f)
		return ok
	case parquet.Int:
		n, ok := toInt(v)
		c.Ints = append(c.Ints, n)
		return ok
	case parquet.String:
		text, ok := toText(v)
		c.Strings = append(c.Strings, text)
		return ok
	case parquet.Bool:
		b, ok := v.(bool)
		c.Bools = append(c.Bools, b)
		return ok || v == nil
	default:
		at, ok := v.(time.Time)
		if !ok {
			c.Times = append(c.Times, 0)
			return v == nil
		}
		c.Times = append(c.Times, at.UnixMicro())
		return true
	}
}

func toFloat(v driver.Value) (float64, bool) {
	switch v := v.(type) {
	case nil:
		return 0, true
	case float64:
		return v, true
	case float32:
		return float64(v), true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	case duck.Decimal:
		return v.Float64(), true
	}
	return 0, false
}

func toInt(v driver.Value) (int64, bool) {
	switch v := v.(type) {
	case nil:
		return 0, true
	case int64:
		return v, true
	case int32:
		return int64(v), true
	case int16:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint32:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint8:
		return int64(v), true
	case uint64:
		return int64(v), v <= 1<<63-1
	}
	return 0, false
}

func toText(v driver.Value) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case []byte:
		return string(v), true
	case duck.UUID:
		return v.String(), true
	}
	return "", false
}

// Type is the SQL type that holds a kind.
func Type(k parquet.Kind) string {
	switch k {
	case parquet.Float:
		return "DOUBLE"
	case parquet.Int:
		return "BIGINT"
	case parquet.Bool:
		return "BOOLEAN"
	case parquet.Time:
		return "TIMESTAMP"
	case parquet.String:
	}
	return "VARCHAR"
}

// Load replaces the table of that name by the given columns.
func (s *Session) Load(ctx context.Context, name string, t *parquet.Table) error {
	defs := make([]string, len(t.Columns))
	for i := range t.Columns {
		defs[i] = Ident(t.Columns[i].Name) + " " + Type(t.Columns[i].Kind)
	}
	if err := s.Exec(ctx, fmt.Sprintf("CREATE OR REPLACE TABLE %s (%s)", Ident(name), strings.Join(defs, ", "))); err != nil {
		return err
	}
	return s.Append(ctx, name, t)
}

// Append adds rows to a table whose columns are t's, in the same order.
func (s *Session) Append(ctx context.Context, name string, t *parquet.Table) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := duck.NewAppenderFromConn(s.conn, "", name)
	if err != nil {
		return wrap(err, "")
	}
	row := make([]driver.Value, len(t.Columns))
	for i := range t.Rows {
		for j := range t.Columns {
			c := &t.Columns[j]
			row[j] = c.Value(i)
			if c.Kind == parquet.Time && row[j] != nil {
				row[j] = time.UnixMicro(c.Times[i]).UTC()
			}
		}
		if err := a.AppendRow(row...); err != nil {
			return firstOf(wrap(err, ""), wrap(a.Close(), ""))
		}
		if i&0xfff == 0xfff && ctx.Err() != nil {
			return firstOf(ctx.Err(), wrap(a.Close(), ""))
		}
	}
	return wrap(a.Close(), "")
}

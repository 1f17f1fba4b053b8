package parquet

import (
	"fmt"
	"math"
)

// A Kind is the type of a column's values.
type Kind uint8

// The kinds, and the slice of Column that holds their values.
const (
	Float  Kind = iota + 1 // Floats
	Int                    // Ints
	String                 // Strings
	Bool                   // Bools
	Time                   // Times
)

// String names the kind as errors and schemas do.
func (k Kind) String() string {
	switch k {
	case Float:
		return "float"
	case Int:
		return "int64"
	case String:
		return "string"
	case Bool:
		return "bool"
	case Time:
		return "timestamp"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// A Column is one named column. Only the slice of its Kind is set. A value whose
// Valid is false is missing; Valid is nil where nothing is.
type Column struct {
	Name    string
	Kind    Kind
	Floats  []float64
	Ints    []int64
	Strings []string
	Bools   []bool
	Times   []int64 // microseconds since 1970, UTC
	Valid   []bool
}

// A Table is columns of equal length.
type Table struct {
	Columns []Column
	Rows    int
}

// NewTable returns a table of the columns, or an error where they do not fit together.
func NewTable(columns ...Column) (*Table, error) {
	t := &Table{Columns: columns}
	if len(columns) > 0 {
		t.Rows = columns[0].Len()
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Table) check() error {
	seen := make(map[string]bool, len(t.Columns))
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Kind < Float || c.Kind > Time {
			return fmt.Errorf("column %q has no kind", c.Name)
		}
		if n := c.Len(); n != t.Rows {
			return fmt.Errorf("column %q has %d rows, the table %d", c.Name, n, t.Rows)
		}
		if c.Valid != nil && len(c.Valid) != t.Rows {
			return fmt.Errorf("column %q has %d validity marks for %d rows", c.Name, len(c.Valid), t.Rows)
		}
		if seen[c.Name] {
			return fmt.Errorf("column %q appears twice", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

// Column returns the named column, or nil.
func (t *Table) Column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// Names are the columns' names in order.
func (t *Table) Names() []string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return names
}

// Len is the number of values.
func (c *Column) Len() int {
	switch c.Kind {
	case Float:
		return len(c.Floats)
	case Int:
		return len(c.Ints)
	case String:
		return len(c.Strings)
	case Bool:
		return len(c.Bools)
	case Time:
		return len(c.Times)
	}
	return 0
}

// Has reports whether value i is there.
func (c *Column) Has(i int) bool { return c.Valid == nil || c.Valid[i] }

// Number returns value i as a float: 1 and 0 for booleans, microseconds for
// times, NaN for text and for what is missing.
func (c *Column) Number(i int) float64 {
	if !c.Has(i) {
		return math.NaN()
	}
	switch c.Kind {
	case Float:
		return c.Floats[i]
	case Int:
		return float64(c.Ints[i])
	case Bool:
		if c.Bools[i] {
			return 1
		}
		return 0
	case Time:
		return float64(c.Times[i])
	case String:
	}
	return math.NaN()
}

// Value returns value i as float64, int64, string, bool or, for times,
// microseconds as int64; nil where it is missing.
func (c *Column) Value(i int) any {
	if !c.Has(i) {
		return nil
	}
	switch c.Kind {
	case Float:
		return c.Floats[i]
	case Int:
		return c.Ints[i]
	case String:
		return c.Strings[i]
	case Bool:
		return c.Bools[i]
	case Time:
		return c.Times[i]
	}
	return nil
}

// Take returns the rows at the given positions, in that order.
func (t *Table) Take(rows []int32) *Table {
	out := &Table{Columns: make([]Column, len(t.Columns)), Rows: len(rows)}
	for i := range t.Columns {
		c, o := &t.Columns[i], &out.Columns[i]
		o.Name, o.Kind = c.Name, c.Kind
		o.Floats, o.Ints, o.Strings = take(c.Floats, rows), take(c.Ints, rows), take(c.Strings, rows)
		o.Bools, o.Times, o.Valid = take(c.Bools, rows), take(c.Times, rows), take(c.Valid, rows)
		switch c.Kind { // an empty selection still has its slice
		case Float:
			o.Floats = nonNil(o.Floats)
		case Int:
			o.Ints = nonNil(o.Ints)
		case String:
			o.Strings = nonNil(o.Strings)
		case Bool:
			o.Bools = nonNil(o.Bools)
		case Time:
			o.Times = nonNil(o.Times)
		}
	}
	return out
}

func take[T any](values []T, rows []int32) []T {
	if values == nil {
		return nil
	}
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = values[r]
	}
	return out
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Append adds the rows of other, whose columns must have the same names and kinds.
func (t *Table) Append(other *Table) error {
	if len(t.Columns) != len(other.Columns) {
		return fmt.Errorf("tables of %d and %d columns cannot be joined end to end", len(t.Columns), len(other.Columns))
	}
	for i := range t.Columns {
		a, b := &t.Columns[i], &other.Columns[i]
		if a.Name != b.Name || a.Kind != b.Kind {
			return fmt.Errorf("column %q (%s) does not continue %q (%s)", b.Name, b.Kind, a.Name, a.Kind)
		}
	}
	for i := range t.Columns {
		a, b := &t.Columns[i], &other.Columns[i]
		if a.Valid != nil || b.Valid != nil {
			a.Valid = append(a.validity(t.Rows), b.validity(other.Rows)...)
		}
		a.Floats = append(a.Floats, b.Floats...)
		a.Ints = append(a.Ints, b.Ints...)
		a.Strings = append(a.Strings, b.Strings...)
		a.Bools = append(a.Bools, b.Bools...)
		a.Times = append(a.Times, b.Times...)
	}
	t.Rows += other.Rows
	return nil
}

func (c *Column) validity(rows int) []bool {
	if c.Valid != nil {
		return c.Valid
	}
	v := make([]bool, rows)
	for i := range v {
		v[i] = true
	}
	return v
}

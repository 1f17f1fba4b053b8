package wire

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/parquet"
)

// MaxRows is how many rows one push may carry.
const MaxRows = 100_000

// A Push is a batch of rows for a dataset, column by column.
type Push struct {
	Dataset string                     `json:"dataset"`
	Columns map[string]json.RawMessage `json:"df"`
}

// Table types the rows as the dataset's specification says. Columns that it names
// and the push lacks are null, except keys and time, which must be there.
func (p *Push) Table(spec *events.DatasetSpec) (*parquet.Table, error) {
	types := map[string]string{}
	for _, c := range spec.Columns {
		types[c.Column] = c.Type
	}
	if types[spec.Time] == Infer {
		types[spec.Time] = Timestamp
	}
	if len(spec.Keys) == 0 {
		return nil, fmt.Errorf("dataset %s has no keys: rows that are pushed could not be told from those committed later", spec.Dataset)
	}
	needed := append(append([]string(nil), spec.Keys...), spec.Time)
	for _, c := range needed {
		if _, ok := p.Columns[c]; !ok {
			return nil, fmt.Errorf("df lacks column %s of dataset %s; %s are required", c, spec.Dataset, strings.Join(needed, ", "))
		}
	}
	names := make([]string, 0, len(p.Columns))
	for name := range p.Columns {
		if strings.ContainsRune(name, 0) || name == "" {
			return nil, fmt.Errorf("df has a column named %q", name)
		}
		names = append(names, name)
	}
	sort.Strings(names)
	t := &parquet.Table{}
	for i, name := range names {
		c, err := Column(name, p.Columns[name], types[name])
		if err != nil {
			return nil, fmt.Errorf("df: %w", err)
		}
		if i == 0 {
			t.Rows = c.Len()
		}
		if c.Len() != t.Rows {
			return nil, fmt.Errorf("df: %s has %d values, %s has %d", names[0], t.Rows, name, c.Len())
		}
		t.Columns = append(t.Columns, c)
	}
	if t.Rows > MaxRows {
		return nil, fmt.Errorf("df has %d rows; at most %d are taken at once", t.Rows, MaxRows)
	}
	for _, name := range needed {
		c := t.Column(name)
		for i := range t.Rows {
			if !c.Has(i) {
				return nil, fmt.Errorf("df: %s, row %d: a key or time must not be null", name, i)
			}
		}
	}
	for _, c := range spec.Columns {
		if t.Column(c.Column) == nil {
			t.Columns = append(t.Columns, nulls(c.Column, c.Type, t.Rows))
		}
	}
	return t, nil
}

func nulls(name, typ string, rows int) parquet.Column {
	c := parquet.Column{Name: name, Valid: make([]bool, rows)}
	switch typ {
	case Int:
		c.Kind, c.Ints = parquet.Int, make([]int64, rows)
	case Float:
		c.Kind, c.Floats = parquet.Float, make([]float64, rows)
	case Bool:
		c.Kind, c.Bools = parquet.Bool, make([]bool, rows)
	case Timestamp:
		c.Kind, c.Times = parquet.Time, make([]int64, rows)
	default:
		c.Kind, c.Strings = parquet.String, make([]string, rows)
	}
	return c
}

package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// An UnsupportedError is a column whose type no Kind can hold.
type UnsupportedError struct{ Column, Type string }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("column %q has type %s; numbers, text, booleans, timestamps and dates are supported", e.Column, e.Type)
}

// A MissingError is a column that was asked for and that the file lacks.
type MissingError struct {
	Column string
	Have   []string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("there is no column %q; the file has %v", e.Column, e.Have)
}

// Read reads the named columns of a file, in that order; all of them where none is named.
func Read(path string, columns ...string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	t, err := ReadFrom(f, columns...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ReadFrom reads from an open file or from bytes in memory, as Read does.
func ReadFrom(r parquet.ReaderAtSeeker, columns ...string) (t *Table, err error) {
	defer func() { // the reader indexes by what a damaged file says
		if p := recover(); p != nil {
			t, err = nil, fmt.Errorf("damaged Parquet file: %v", p)
		}
	}()
	pr, err := file.NewParquetReader(r)
	if err != nil {
		return nil, fmt.Errorf("not a Parquet file: %w", err)
	}
	defer func() { _ = pr.Close() }()
	fr, err := pqarrow.NewFileReader(pr, pqarrow.ArrowReadProperties{Parallel: false}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	schema, err := fr.Schema()
	if err != nil {
		return nil, err
	}
	have := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		have[i] = f.Name
	}
	if len(columns) == 0 {
		columns = have
	}
	t = &Table{Columns: make([]Column, len(columns)), Rows: int(pr.NumRows())}
	for i, name := range columns {
		at := slices.Index(have, name)
		if at < 0 {
			return nil, &MissingError{Column: name, Have: have}
		}
		leaf := pr.MetaData().Schema.ColumnIndexByName(name)
		if leaf < 0 {
			return nil, &UnsupportedError{Column: name, Type: schema.Field(at).Type.String()}
		}
		if err := readColumn(fr, leaf, schema.Field(at), &t.Columns[i]); err != nil {
			return nil, err
		}
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

func readColumn(fr *pqarrow.FileReader, leaf int, field arrow.Field, into *Column) error {
	into.Name = field.Name
	rd, err := fr.GetColumn(context.Background(), leaf)
	if err != nil {
		return fmt.Errorf("column %q: %w", field.Name, err)
	}
	rows := fr.ParquetReader().NumRows()
	chunked, err := rd.NextBatch(rows)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("column %q: %w", field.Name, err)
	}
	if chunked == nil {
		return into.empty(field.Type)
	}
	defer chunked.Release()
	if err := into.empty(field.Type); err != nil {
		return err
	}
	for _, chunk := range chunked.Chunks() {
		if err := into.appendArray(chunk); err != nil {
			return err
		}
	}
	return nil
}

// empty sets the kind that holds an Arrow type.
func (c *Column) empty(t arrow.DataType) error {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	switch t.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64:
		c.Kind, c.Ints = Int, []int64{}
	case arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128, arrow.DECIMAL32, arrow.DECIMAL64:
		c.Kind, c.Floats = Float, []float64{}
	case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY:
		c.Kind, c.Strings = String, []string{}
	case arrow.BOOL:
		c.Kind, c.Bools = Bool, []bool{}
	case arrow.TIMESTAMP, arrow.DATE32, arrow.DATE64:
		c.Kind, c.Times = Time, []int64{}
	default:
		return &UnsupportedError{Column: c.Name, Type: t.String()}
	}
	return nil
}

// appendArray copies an Arrow array behind what the column holds.
func (c *Column) appendArray(a arrow.Array) error {
	before := c.Len()
	if a.NullN() > 0 || c.Valid != nil {
		if c.Valid == nil {
			c.Valid = c.validity(before)
		}
		for i := range a.Len() {
			c.Valid = append(c.Valid, a.IsValid(i))
		}
	}
	switch a := a.(type) {
	case *array.Int64:
		c.Ints = append(c.Ints, a.Int64Values()...)
	case *array.Int32:
		c.Ints = widen(c.Ints, a.Int32Values())
	case *array.Int16:
		c.Ints = widen(c.Ints, a.Int16Values())
	case *array.Int8:
		c.Ints = widen(c.Ints, a.Int8Values())
	case *array.Uint64:
		for i := range a.Len() {
			if a.IsValid(i) && a.Value(i) > 1<<63-1 {
				return fmt.Errorf("column %q: %d does not fit into int64", c.Name, a.Value(i))
			}
			c.Ints = append(c.Ints, int64(a.Value(i)))
		}
	case *array.Uint32:
		c.Ints = widen(c.Ints, a.Uint32Values())
	case *array.Uint16:
		c.Ints = widen(c.Ints, a.Uint16Values())
	case *array.Uint8:
		c.Ints = widen(c.Ints, a.Uint8Values())
	case *array.Float64:
		c.Floats = append(c.Floats, a.Float64Values()...)
	case *array.Float32:
		for _, v := range a.Float32Values() {
			c.Floats = append(c.Floats, float64(v))
		}
	case *array.Float16:
		for i := range a.Len() {
			c.Floats = append(c.Floats, float64(a.Value(i).Float32()))
		}
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		for i := range a.Len() {
			c.Floats = append(c.Floats, a.Value(i).ToFloat64(scale))
		}
	case *array.Decimal64:
		scale := a.DataType().(*arrow.Decimal64Type).Scale
		for i := range a.Len() {
			c.Floats = append(c.Floats, a.Value(i).ToFloat64(scale))
		}
	case *array.Decimal32:
		scale := a.DataType().(*arrow.Decimal32Type).Scale
		for i := range a.Len() {
			c.Floats = append(c.Floats, a.Value(i).ToFloat64(scale))
		}
	case *array.Boolean:
		for i := range a.Len() {
			c.Bools = append(c.Bools, a.Value(i))
		}
	case *array.Timestamp:
		unit := a.DataType().(*arrow.TimestampType).Unit
		for _, v := range a.TimestampValues() {
			c.Times = append(c.Times, micros(int64(v), unit))
		}
	case *array.Date32:
		for _, v := range a.Date32Values() {
			c.Times = append(c.Times, int64(v)*86_400_000_000)
		}
	case *array.Date64:
		for _, v := range a.Date64Values() {
			c.Times = append(c.Times, int64(v)*1000)
		}
	case *array.Dictionary:
		return c.appendDictionary(a)
	default:
		return c.appendText(a)
	}
	return nil
}

func (c *Column) appendText(a arrow.Array) error {
	switch a := a.(type) {
	case *array.String:
		for i := range a.Len() {
			c.Strings = append(c.Strings, a.Value(i))
		}
	case *array.LargeString:
		for i := range a.Len() {
			c.Strings = append(c.Strings, a.Value(i))
		}
	case *array.Binary:
		for i := range a.Len() {
			c.Strings = append(c.Strings, string(a.Value(i)))
		}
	case *array.LargeBinary:
		for i := range a.Len() {
			c.Strings = append(c.Strings, string(a.Value(i)))
		}
	default:
		return &UnsupportedError{Column: c.Name, Type: a.DataType().String()}
	}
	return nil
}

func (c *Column) appendDictionary(a *array.Dictionary) error {
	var values Column
	values.Name = c.Name
	if err := values.empty(a.Dictionary().DataType()); err != nil {
		return err
	}
	if err := values.appendArray(a.Dictionary()); err != nil {
		return err
	}
	if values.Kind != String {
		return &UnsupportedError{Column: c.Name, Type: a.DataType().String()}
	}
	for i := range a.Len() {
		s := ""
		if a.IsValid(i) {
			s = values.Strings[a.GetValueIndex(i)]
		}
		c.Strings = append(c.Strings, s)
	}
	return nil
}

func widen[T int8 | int16 | int32 | uint8 | uint16 | uint32](to []int64, from []T) []int64 {
	for _, v := range from {
		to = append(to, int64(v))
	}
	return to
}

func micros(v int64, unit arrow.TimeUnit) int64 {
	switch unit {
	case arrow.Second:
		return v * 1_000_000
	case arrow.Millisecond:
		return v * 1000
	case arrow.Nanosecond:
		if v < 0 && v%1000 != 0 {
			return v/1000 - 1
		}
		return v / 1000
	}
	return v
}

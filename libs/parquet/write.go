package parquet

import (
	"bytes"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// rowGroup bounds what a reader must hold at once of one column.
const rowGroup = 1 << 20

// Write writes a table as one Parquet file: text in dictionaries, Snappy pages.
func Write(w io.Writer, t *Table) error {
	if err := t.check(); err != nil {
		return err
	}
	fields := make([]arrow.Field, len(t.Columns))
	arrays := make([]arrow.Array, len(t.Columns))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	for i := range t.Columns {
		c := &t.Columns[i]
		arrays[i] = c.array(memory.DefaultAllocator)
		fields[i] = arrow.Field{Name: c.Name, Type: arrays[i].DataType(), Nullable: c.Valid != nil}
	}
	options := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(rowGroup),
		parquet.WithDictionaryDefault(false), parquet.WithCreatedBy("freshet"),
	}
	for i := range t.Columns {
		if c := &t.Columns[i]; c.Kind == String {
			options = append(options, parquet.WithDictionaryFor(c.Name, true))
		}
	}
	props := parquet.NewWriterProperties(options...)
	schema := arrow.NewSchema(fields, nil)
	fw, err := pqarrow.NewFileWriter(schema, keepOpen{w}, props, pqarrow.DefaultWriterProps())
	if err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	batch := array.NewRecordBatch(schema, arrays, int64(t.Rows))
	defer batch.Release()
	if err := fw.Write(batch); err != nil {
		_ = fw.Close()
		return fmt.Errorf("write Parquet: %w", err)
	}
	if err := fw.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// Encode is Write into memory.
func Encode(t *Table) ([]byte, error) {
	var b bytes.Buffer
	if err := Write(&b, t); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// keepOpen hides Close: the writer of the file does not own what it writes to.
type keepOpen struct{ io.Writer }

func (c *Column) array(mem memory.Allocator) arrow.Array {
	switch c.Kind {
	case Float:
		b := array.NewFloat64Builder(mem)
		defer b.Release()
		b.AppendValues(c.Floats, c.Valid)
		return b.NewArray()
	case Int:
		b := array.NewInt64Builder(mem)
		defer b.Release()
		b.AppendValues(c.Ints, c.Valid)
		return b.NewArray()
	case Bool:
		b := array.NewBooleanBuilder(mem)
		defer b.Release()
		b.AppendValues(c.Bools, c.Valid)
		return b.NewArray()
	case Time:
		b := array.NewTimestampBuilder(mem, &arrow.TimestampType{Unit: arrow.Microsecond})
		defer b.Release()
		b.Reserve(len(c.Times))
		for i, v := range c.Times {
			if c.Has(i) {
				b.UnsafeAppend(arrow.Timestamp(v))
			} else {
				b.UnsafeAppendBoolToBitmap(false)
			}
		}
		return b.NewArray()
	default:
		b := array.NewStringBuilder(mem)
		defer b.Release()
		b.AppendValues(c.Strings, c.Valid)
		return b.NewArray()
	}
}

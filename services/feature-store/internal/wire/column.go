// Package wire reads and writes what the feature store's HTTP routes and its
// topic of pushed rows carry: columns of JSON values.
package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/libs/parquet"
)

// Types of columns, as contracts name them. With Infer the values decide; text
// stays text.
const (
	Infer     = ""
	String    = "string"
	Int       = "int64"
	Float     = "float"
	Bool      = "bool"
	Timestamp = "timestamp"
)

// Values splits a JSON array into its values; numbers keep their text.
func Values(name string, raw json.RawMessage) ([]any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var values []any
	if err := d.Decode(&values); err != nil {
		return nil, fmt.Errorf("%s must be a list of values: %w", name, err)
	}
	return values, nil
}

// Column decodes a JSON array as a column of a type. Null is missing.
func Column(name string, raw json.RawMessage, typ string) (parquet.Column, error) {
	values, err := Values(name, raw)
	if err != nil {
		return parquet.Column{}, err
	}
	if typ == Infer {
		typ = infer(values)
	}
	c := parquet.Column{Name: name}
	n := len(values)
	switch typ {
	case Int:
		c.Kind, c.Ints = parquet.Int, make([]int64, n)
	case Float:
		c.Kind, c.Floats = parquet.Float, make([]float64, n)
	case Bool:
		c.Kind, c.Bools = parquet.Bool, make([]bool, n)
	case Timestamp:
		c.Kind, c.Times = parquet.Time, make([]int64, n)
	default:
		c.Kind, c.Strings = parquet.String, make([]string, n)
	}
	for i, v := range values {
		if v == nil {
			if c.Valid == nil {
				c.Valid = make([]bool, n)
				for j := range c.Valid {
					c.Valid[j] = true
				}
			}
			c.Valid[i] = false
			continue
		}
		if err := set(&c, i, v); err != nil {
			return c, fmt.Errorf("%s, row %d: %w", name, i, err)
		}
	}
	return c, nil
}

func infer(values []any) string {
	typ := Infer
	for _, v := range values {
		switch v := v.(type) {
		case json.Number:
			if _, err := strconv.ParseInt(v.String(), 10, 64); err != nil {
				typ = Float
			} else if typ == Infer {
				typ = Int
			}
		case bool:
			return Bool
		case string:
			return String
		}
	}
	return typ
}

func set(c *parquet.Column, i int, v any) error {
	switch c.Kind {
	case parquet.Int:
		n, ok := v.(json.Number)
		if !ok {
			return fmt.Errorf("%v is not a whole number", v)
		}
		x, err := strconv.ParseInt(n.String(), 10, 64)
		if err != nil {
			f, ferr := n.Float64()
			if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
				return fmt.Errorf("%s is not a whole number of 64 bits", n)
			}
			x = int64(f)
		}
		c.Ints[i] = x
	case parquet.Float:
		n, ok := v.(json.Number)
		if !ok {
			return fmt.Errorf("%v is not a number", v)
		}
		f, err := n.Float64()
		if err != nil {
			return fmt.Errorf("%s does not fit into a float", n)
		}
		c.Floats[i] = f
	case parquet.Bool:
		b, ok := v.(bool)
		if !ok {
			return fmt.Errorf("%v is not true or false", v)
		}
		c.Bools[i] = b
	case parquet.Time:
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("%v is not a timestamp; write it as text, such as 2001-01-19T08:00:00Z", v)
		}
		t, err := ParseTime(s)
		if err != nil {
			return err
		}
		c.Times[i] = t.UnixMicro()
	default:
		s, ok := Text(v)
		if !ok {
			return fmt.Errorf("%v is not text", v)
		}
		c.Strings[i] = s
	}
	return nil
}

var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02"}

// ParseTime reads ISO 8601 text; without a zone it is UTC.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a timestamp; write it such as 2001-01-19T08:00:00Z", s)
}

// Text is a value as an entity's column says it: as SQL's cast to text does for
// whole numbers, truth values and text.
func Text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		if f, err := v.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
			return strconv.FormatInt(int64(f), 10), true
		}
		return v.String(), true
	}
	return "", false
}

// Package wire is the Open Inference Protocol's tensors over REST, version 2: as
// JSON, flat or nested, and as binary data after the JSON. It is strict: a shape
// that does not fit its data, a value outside its type, a name given twice or
// bytes that nobody claimed are errors that say which tensor and why. It reads no
// more than it was given and never panics on bad bytes.
package wire

import (
	"errors"
	"fmt"
	"math"
)

// ErrMalformed is wrapped by every refusal of a request's form.
var ErrMalformed = errors.New("malformed inference request")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// A Tensor is a named array. Which slice holds its elements follows from its datatype.
type Tensor struct {
	Name     string
	Datatype string
	Shape    []int64

	Strings []string  // BYTES
	Ints    []int64   // INT8 … INT64, UINT8 … UINT64
	Floats  []float64 // FP32, FP64
	Bools   []bool    // BOOL

	Binary bool // of an output: as binary data
}

// Len is the number of elements.
func (t *Tensor) Len() int {
	return len(t.Strings) + len(t.Ints) + len(t.Floats) + len(t.Bools)
}

// An Output that a request wants.
type Output struct {
	Name   string
	Binary bool
}

// A Request as it came.
type Request struct {
	ID      string
	Inputs  []Tensor
	Outputs []Output // empty: all
	Binary  bool     // binary_data_output: how outputs come where they do not say
}

// Wants reports whether an output is wanted, and whether as binary data.
func (r *Request) Wants(name string) (wanted, binary bool) {
	if len(r.Outputs) == 0 {
		return true, r.Binary
	}
	for _, o := range r.Outputs {
		if o.Name == name {
			return true, o.Binary
		}
	}
	return false, false
}

// A Response to be written.
type Response struct {
	ModelName    string
	ModelVersion string
	ID           string
	Outputs      []Tensor
}

type kind int

const (
	unknown kind = iota
	bytesKind
	intKind
	floatKind
	boolKind
)

// datatypes are the protocol's, with the size of an element (0: it varies) and
// the range of integers.
var datatypes = map[string]struct {
	kind     kind
	size     int
	min, max int64
	unsigned bool
}{
	"BYTES":  {kind: bytesKind},
	"BOOL":   {kind: boolKind, size: 1},
	"INT8":   {kind: intKind, size: 1, min: math.MinInt8, max: math.MaxInt8},
	"INT16":  {kind: intKind, size: 2, min: math.MinInt16, max: math.MaxInt16},
	"INT32":  {kind: intKind, size: 4, min: math.MinInt32, max: math.MaxInt32},
	"INT64":  {kind: intKind, size: 8, min: math.MinInt64, max: math.MaxInt64},
	"UINT8":  {kind: intKind, size: 1, max: math.MaxUint8, unsigned: true},
	"UINT16": {kind: intKind, size: 2, max: math.MaxUint16, unsigned: true},
	"UINT32": {kind: intKind, size: 4, max: math.MaxUint32, unsigned: true},
	"UINT64": {kind: intKind, size: 8, max: math.MaxInt64, unsigned: true},
	"FP32":   {kind: floatKind, size: 4},
	"FP64":   {kind: floatKind, size: 8},
}

// elements is the product of a shape, refused beyond limit.
func elements(name string, shape []int64, limit int) (int, error) {
	n := int64(1)
	for _, d := range shape {
		if d < 0 {
			return 0, malformed("input %q has shape %v; a dimension cannot be negative", name, shape)
		}
		if d > 0 && n > int64(limit)/d {
			return 0, malformed("input %q has shape %v; at most %d elements are taken", name, shape, limit)
		}
		n *= d
	}
	return int(n), nil
}

package onnx

import "slices"

type kind uint8

const (
	kindFloat kind = iota
	kindInt        // int32, int64 and bool: exact in a float64 up to 2^53
	kindString
)

// A tensor is dense, row-major. Strings are never computed with: only labels are
// strings, and a label does not decide a score.
type tensor struct {
	kind  kind
	shape []int
	data  []float64
	meter *meter // nil for constants
}

// A meter bounds what one scoring may take, so that a small file cannot ask for
// all memory or for hours.
type meter struct {
	memory int     // elements that may still be allocated
	work   float64 // multiplications and moves that may still be made
}

const (
	maxMemory = 1 << 23
	maxWork   = 1 << 28
)

// charge counts work before it is done.
func (t *tensor) charge(factors ...int) error {
	if t.meter == nil {
		return nil
	}
	n := 1.0
	for _, f := range factors {
		n *= float64(f)
	}
	if t.meter.work -= n; t.meter.work < 0 {
		return badShape("the graph takes too much work")
	}
	return nil
}

// reset gives t a shape, keeping its buffers; the data's values are undefined.
func (t *tensor) reset(k kind, shape ...int) error {
	n := 1
	for _, d := range shape {
		if d < 0 || (d > 0 && n > maxElements/d) {
			return badShape("a tensor of shape %v is too large", slices.Clone(shape))
		}
		n *= d
	}
	if len(shape) > maxRank {
		return badShape("a tensor of rank %d", len(shape))
	}
	if err := t.charge(n); err != nil {
		return err
	}
	t.kind = k
	t.shape = append(t.shape[:0], shape...)
	if cap(t.data) < n {
		if t.meter != nil {
			if t.meter.memory -= n - cap(t.data); t.meter.memory < 0 {
				t.data = nil
				return badShape("the graph takes too much memory")
			}
		}
		t.data = make([]float64, n)
	}
	t.data = t.data[:n]
	return nil
}

// matrix views t as rows × columns: a vector is one row.
func (t *tensor) matrix() (rows, cols int, err error) {
	switch len(t.shape) {
	case 1:
		return 1, t.shape[0], nil
	case 2:
		return t.shape[0], t.shape[1], nil
	default:
		return 0, 0, badShape("%v is not a matrix", t.shape)
	}
}

func (t *tensor) axis(axis int64) (int, error) {
	rank := int64(len(t.shape))
	if axis < 0 {
		axis += rank
	}
	if axis < 0 || axis >= rank {
		return 0, badShape("axis %d of %v", axis, t.shape)
	}
	return int(axis), nil
}

// around splits a shape at an axis: the product before it, its size, the product after.
func (t *tensor) around(axis int) (outer, size, inner int) {
	outer, inner = 1, 1
	for i, d := range t.shape {
		switch {
		case i < axis:
			outer *= d
		case i > axis:
			inner *= d
		}
	}
	return outer, t.shape[axis], inner
}

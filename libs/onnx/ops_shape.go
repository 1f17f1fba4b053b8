package onnx

import (
	"math"
	"slices"
)

// Operators that move values, and reductions.

// take gives out the data of in under another shape.
func take(in, out *tensor, shape ...int) error {
	if err := out.reset(in.kind, shape...); err != nil {
		return err
	}
	if len(out.data) != len(in.data) {
		return badShape("%v into %v", slices.Clone(in.shape), slices.Clone(shape))
	}
	copy(out.data, in.data)
	return nil
}

func reshape(b *builder) (kernel, error) {
	if err := b.arity(2, 2); err != nil {
		return nil, err
	}
	want, given, err := b.constInts(1)
	if err != nil {
		return nil, err
	}
	if !given || len(want) > maxRank {
		return nil, malformed("a shape of rank %d", len(want))
	}
	keepZero := b.integer("allowzero", 0) != 0
	return func(in, out []*tensor) error {
		var shape [maxRank]int
		rest, known := -1, 1
		for i, d := range want {
			switch {
			case d == -1 && rest < 0:
				rest = i
				continue
			case d == 0 && !keepZero:
				if i >= len(in[0].shape) {
					return badShape("dimension %d of %v", i, slices.Clone(in[0].shape))
				}
				shape[i] = in[0].shape[i]
			case d < 0 || d > maxElements:
				return badShape("into %v", want)
			default:
				shape[i] = int(d)
			}
			if known *= shape[i]; known > maxElements {
				return badShape("into %v", want)
			}
		}
		if rest >= 0 {
			if known == 0 || len(in[0].data)%known != 0 {
				return badShape("%v into %v", slices.Clone(in[0].shape), want)
			}
			shape[rest] = len(in[0].data) / known
		}
		return take(in[0], out[0], shape[:len(want)]...)
	}, nil
}

func flatten(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	axis := b.integer("axis", 1)
	return func(in, out []*tensor) error {
		at := axis
		if at < 0 {
			at += int64(len(in[0].shape))
		}
		if at < 0 || at > int64(len(in[0].shape)) {
			return badShape("axis %d of %v", axis, slices.Clone(in[0].shape))
		}
		rows, cols := 1, 1
		for i, d := range in[0].shape {
			if int64(i) < at {
				rows *= d
			} else {
				cols *= d
			}
		}
		return take(in[0], out[0], rows, cols)
	}, nil
}

func squeeze(b *builder) (kernel, error) {
	if err := b.arity(1, 2); err != nil {
		return nil, err
	}
	axes, given, err := b.axes()
	if err != nil {
		return nil, err
	}
	return func(in, out []*tensor) error {
		var drop [maxRank]bool
		for _, a := range axes {
			at, err := in[0].axis(a)
			if err != nil {
				return err
			}
			if in[0].shape[at] != 1 {
				return badShape("axis %d of %v is not 1", a, slices.Clone(in[0].shape))
			}
			drop[at] = true
		}
		var shape [maxRank]int
		n := 0
		for i, d := range in[0].shape {
			if drop[i] || (!given && d == 1) {
				continue
			}
			shape[n] = d
			n++
		}
		return take(in[0], out[0], shape[:n]...)
	}, nil
}

func unsqueeze(b *builder) (kernel, error) {
	if err := b.arity(1, 2); err != nil {
		return nil, err
	}
	axes, given, err := b.axes()
	if err != nil {
		return nil, err
	}
	if !given {
		return nil, malformed("no axes")
	}
	return func(in, out []*tensor) error {
		rank := len(in[0].shape) + len(axes)
		if rank > maxRank {
			return badShape("a tensor of rank %d", rank)
		}
		var shape [maxRank]int
		for _, a := range axes {
			if a < 0 {
				a += int64(rank)
			}
			if a < 0 || a >= int64(rank) || shape[a] != 0 {
				return badShape("axes %v", axes)
			}
			shape[a] = -1
		}
		at := 0
		for i := range rank {
			if shape[i] == -1 {
				shape[i] = 1
			} else {
				shape[i] = in[0].shape[at]
				at++
			}
		}
		return take(in[0], out[0], shape[:rank]...)
	}, nil
}

func concat(b *builder) (kernel, error) {
	if err := b.arity(1, maxNodes); err != nil {
		return nil, err
	}
	if slices.Contains(b.node.inputs, "") {
		return nil, malformed("an input is missing")
	}
	axis := b.integer("axis", 1)
	return func(in, out []*tensor) error {
		at, err := in[0].axis(axis)
		if err != nil {
			return err
		}
		var shape [maxRank]int
		rank := copy(shape[:], in[0].shape)
		shape[at] = 0
		for _, t := range in {
			if len(t.shape) != rank {
				return badShape("%v beside %v", slices.Clone(t.shape), slices.Clone(in[0].shape))
			}
			for i, d := range t.shape {
				if i == at {
					shape[i] += d
				} else if shape[i] != d {
					return badShape("%v beside %v", slices.Clone(t.shape), slices.Clone(in[0].shape))
				}
			}
		}
		if err := out[0].reset(in[0].kind, shape[:rank]...); err != nil {
			return err
		}
		outer, size, inner := out[0].around(at)
		from := 0
		for _, t := range in {
			width := t.shape[at] * inner
			for o := range outer {
				copy(out[0].data[o*size*inner+from:][:width], t.data[o*width:][:width])
			}
			from += width
		}
		return nil
	}, nil
}

func transpose(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	if perm := b.node.attrs["perm"].ints; len(perm) > 0 && !slices.Equal(perm, []int64{1, 0}) {
		return nil, &UnsupportedOperatorError{Op: "Transpose", Reason: "of more than two dimensions"}
	}
	return func(in, out []*tensor) error {
		if len(in[0].shape) != 2 {
			return badShape("%v is not a matrix", slices.Clone(in[0].shape))
		}
		rows, cols := in[0].shape[0], in[0].shape[1]
		if err := out[0].reset(in[0].kind, cols, rows); err != nil {
			return err
		}
		for r := range rows {
			for c := range cols {
				out[0].data[c*rows+r] = in[0].data[r*cols+c]
			}
		}
		return nil
	}, nil
}

func gather(b *builder) (kernel, error) {
	if err := b.arity(2, 2); err != nil {
		return nil, err
	}
	axis := b.integer("axis", 0)
	return func(in, out []*tensor) error {
		x, indices := in[0], in[1]
		at, err := x.axis(axis)
		if err != nil {
			return err
		}
		rank := len(x.shape) - 1 + len(indices.shape)
		if rank > maxRank {
			return badShape("a tensor of rank %d", rank)
		}
		var shape [maxRank]int
		n := copy(shape[:], x.shape[:at])
		n += copy(shape[n:], indices.shape)
		copy(shape[n:], x.shape[at+1:])
		if err := out[0].reset(x.kind, shape[:rank]...); err != nil {
			return err
		}
		outer, size, inner := x.around(at)
		for i, f := range indices.data {
			k := int(f)
			if k < 0 {
				k += size
			}
			if k < 0 || k >= size {
				return badShape("index %d of %d", k, size)
			}
			for o := range outer {
				copy(out[0].data[(o*len(indices.data)+i)*inner:][:inner], x.data[(o*size+k)*inner:][:inner])
			}
		}
		return nil
	}, nil
}

func argMax(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	axis, keep := b.integer("axis", 0), b.integer("keepdims", 1) != 0
	if b.integer("select_last_index", 0) != 0 {
		return nil, &UnsupportedOperatorError{Op: "ArgMax", Reason: "select_last_index"}
	}
	return func(in, out []*tensor) error {
		at, err := in[0].axis(axis)
		if err != nil {
			return err
		}
		outer, size, inner := in[0].around(at)
		if size == 0 {
			return badShape("nothing to choose from")
		}
		if err := reduced(in[0], out[0], at, keep, kindInt); err != nil {
			return err
		}
		if err := out[0].charge(len(in[0].data)); err != nil {
			return err
		}
		for o := range outer {
			for i := range inner {
				best, most := 0, math.Inf(-1)
				for k := range size {
					if x := in[0].data[(o*size+k)*inner+i]; x > most {
						best, most = k, x
					}
				}
				out[0].data[o*inner+i] = float64(best)
			}
		}
		return nil
	}, nil
}

// reduced shapes the result of a reduction along one axis.
func reduced(in, out *tensor, at int, keep bool, k kind) error {
	var shape [maxRank]int
	n := 0
	for i, d := range in.shape {
		switch {
		case i != at:
			shape[n] = d
			n++
		case keep:
			shape[n] = 1
			n++
		}
	}
	return out.reset(k, shape[:n]...)
}

func reduce(mean bool) func(*builder) (kernel, error) {
	return func(b *builder) (kernel, error) {
		if err := b.arity(1, 2); err != nil {
			return nil, err
		}
		axes, given, err := b.axes()
		if err != nil {
			return nil, err
		}
		if !given || len(axes) != 1 {
			return nil, &UnsupportedOperatorError{Op: b.node.op, Reason: "along other than one axis"}
		}
		keep := b.integer("keepdims", 1) != 0
		return func(in, out []*tensor) error {
			at, err := in[0].axis(axes[0])
			if err != nil {
				return err
			}
			outer, size, inner := in[0].around(at)
			if err := reduced(in[0], out[0], at, keep, in[0].kind); err != nil {
				return err
			}
			if err := out[0].charge(len(in[0].data)); err != nil {
				return err
			}
			for o := range outer {
				for i := range inner {
					sum := 0.0
					for k := range size {
						sum += in[0].data[(o*size+k)*inner+i]
					}
					if mean {
						sum /= float64(size)
					}
					out[0].data[o*inner+i] = sum
				}
			}
			return nil
		}, nil
	}
}

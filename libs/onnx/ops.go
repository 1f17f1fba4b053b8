package onnx

import (
	"math"
	"slices"
)

// builders are the operators that can be scored, by qualified name.
var builders = map[string]func(*builder) (kernel, error){
	"ai.onnx.ml.Scaler":                scaler,
	"ai.onnx.ml.LinearRegressor":       linearRegressor,
	"ai.onnx.ml.LinearClassifier":      linearClassifier,
	"ai.onnx.ml.Normalizer":            normalizer,
	"ai.onnx.ml.Imputer":               imputer,
	"ai.onnx.ml.Binarizer":             binarizer,
	"ai.onnx.ml.ArrayFeatureExtractor": arrayFeatureExtractor,
	"ai.onnx.ml.FeatureVectorizer":     featureVectorizer,
	"ai.onnx.ml.ZipMap":                identity,

	"Constant":   identity, // made a constant when loading
	"Identity":   identity,
	"Cast":       cast,
	"MatMul":     matMul,
	"Gemm":       gemm,
	"Add":        elementwise(func(a, b float64) float64 { return a + b }),
	"Sub":        elementwise(func(a, b float64) float64 { return a - b }),
	"Mul":        elementwise(func(a, b float64) float64 { return a * b }),
	"Div":        divide,
	"Pow":        elementwise(math.Pow),
	"Min":        elementwise(math.Min),
	"Max":        elementwise(math.Max),
	"Neg":        plain(func(x float64) float64 { return -x }),
	"Abs":        plain(math.Abs),
	"Exp":        plain(math.Exp),
	"Log":        plain(math.Log),
	"Sqrt":       plain(math.Sqrt),
	"Reciprocal": plain(func(x float64) float64 { return 1 / x }),
	"Sigmoid":    plain(sigmoid),
	"Tanh":       plain(math.Tanh),
	"Relu":       plain(func(x float64) float64 { return math.Max(x, 0) }),
	"Clip":       clip,
	"Softmax":    softmaxOp,
	"Reshape":    reshape,
	"Flatten":    flatten,
	"Squeeze":    squeeze,
	"Unsqueeze":  unsqueeze,
	"Concat":     concat,
	"Transpose":  transpose,
	"Gather":     gather,
	"ArgMax":     argMax,
	"ReduceSum":  reduce(false),
	"ReduceMean": reduce(true),
}

func sigmoid(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + math.Exp(-x))
	}
	e := math.Exp(x)
	return e / (1 + e)
}

func softmax(s []float64) {
	most := math.Inf(-1)
	for _, x := range s {
		most = math.Max(most, x)
	}
	sum := 0.0
	for i, x := range s {
		s[i] = math.Exp(x - most)
		sum += s[i]
	}
	for i := range s {
		s[i] /= sum
	}
}

func identity(b *builder) (kernel, error) {
	return unary(b, func(x float64) float64 { return x })
}

func plain(fn func(float64) float64) func(*builder) (kernel, error) {
	return func(b *builder) (kernel, error) { return unary(b, fn) }
}

func unary(b *builder, fn func(float64) float64) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	return func(in, out []*tensor) error {
		if err := out[0].reset(in[0].kind, in[0].shape...); err != nil {
			return err
		}
		for i, x := range in[0].data {
			out[0].data[i] = fn(x)
		}
		return nil
	}, nil
}

func cast(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	to := b.integer("to", 0)
	var fn func(float64) float64
	k := kindInt
	switch to {
	case typeFloat, typeDouble:
		k, fn = kindFloat, func(x float64) float64 { return x }
	case typeInt32, typeInt64:
		fn = math.Trunc
	case typeBool:
		fn = func(x float64) float64 {
			if x != 0 {
				return 1
			}
			return 0
		}
	default:
		return nil, &UnsupportedOperatorError{Op: "Cast", Reason: "to a type other than float, double, int or bool"}
	}
	return func(in, out []*tensor) error {
		if err := out[0].reset(k, in[0].shape...); err != nil {
			return err
		}
		for i, x := range in[0].data {
			out[0].data[i] = fn(x)
		}
		return nil
	}, nil
}

func divide(b *builder) (kernel, error) {
	run, err := elementwise(func(a, b float64) float64 { return a / b })(b)
	if err != nil {
		return nil, err
	}
	return func(in, out []*tensor) error {
		if err := run(in, out); err != nil {
			return err
		}
		if in[0].kind == kindInt {
			for i, x := range out[0].data {
				out[0].data[i] = math.Trunc(x)
			}
		}
		return nil
	}, nil
}

// elementwise broadcasts two tensors as numpy does.
func elementwise(fn func(a, b float64) float64) func(*builder) (kernel, error) {
	return func(b *builder) (kernel, error) {
		if err := b.arity(2, 2); err != nil {
			return nil, err
		}
		return func(in, out []*tensor) error {
			x, y, z := in[0], in[1], out[0]
			if len(y.data) == 1 && len(y.shape) <= len(x.shape) {
				if err := z.reset(x.kind, x.shape...); err != nil {
					return err
				}
				for i, a := range x.data {
					z.data[i] = fn(a, y.data[0])
				}
				return nil
			}
			var shape, xs, ys [maxRank]int
			rank := max(len(x.shape), len(y.shape))
			if err := broadcast(x, y, shape[:rank], xs[:rank], ys[:rank]); err != nil {
				return err
			}
			if err := z.reset(x.kind, shape[:rank]...); err != nil {
				return err
			}
			var at [maxRank]int
			i, j := 0, 0
			for k := range z.data {
				z.data[k] = fn(x.data[i], y.data[j])
				for d := rank - 1; d >= 0; d-- {
					at[d]++
					i, j = i+xs[d], j+ys[d]
					if at[d] < shape[d] {
						break
					}
					i, j = i-at[d]*xs[d], j-at[d]*ys[d]
					at[d] = 0
				}
			}
			return nil
		}, nil
	}
}

// broadcast fills in the common shape and each operand's strides, 0 where it repeats.
func broadcast(x, y *tensor, shape, xs, ys []int) error {
	rank := len(shape)
	sx, sy := 1, 1
	for d := rank - 1; d >= 0; d-- {
		a, b := 1, 1
		if i := d - (rank - len(x.shape)); i >= 0 {
			a = x.shape[i]
		}
		if i := d - (rank - len(y.shape)); i >= 0 {
			b = y.shape[i]
		}
		if a != b && a != 1 && b != 1 {
			return badShape("%v with %v", slices.Clone(x.shape), slices.Clone(y.shape))
		}
		shape[d] = max(a, b)
		if a == 0 || b == 0 {
			shape[d] = 0
		}
		if a != 1 {
			xs[d] = sx
		}
		if b != 1 {
			ys[d] = sy
		}
		sx, sy = sx*a, sy*b
	}
	return nil
}

func matMul(b *builder) (kernel, error) {
	if err := b.arity(2, 2); err != nil {
		return nil, err
	}
	return func(in, out []*tensor) error {
		x, y := in[0], in[1]
		if len(x.shape) != 2 || len(y.shape) < 1 || len(y.shape) > 2 {
			return badShape("%v by %v", slices.Clone(x.shape), slices.Clone(y.shape))
		}
		cols := 1
		if len(y.shape) == 2 {
			cols = y.shape[1]
		}
		if x.shape[1] != y.shape[0] {
			return badShape("%v by %v", slices.Clone(x.shape), slices.Clone(y.shape))
		}
		if err := out[0].reset(kindFloat, x.shape[0], cols); err != nil {
			return err
		}
		if err := out[0].charge(x.shape[0], x.shape[1], cols); err != nil {
			return err
		}
		multiply(x.data, y.data, out[0].data, x.shape[0], x.shape[1], cols)
		if len(y.shape) == 1 {
			out[0].shape = out[0].shape[:1]
		}
		return nil
	}, nil
}

func multiply(x, y, z []float64, rows, inner, cols int) {
	for r := range rows {
		line := z[r*cols : (r+1)*cols]
		clear(line)
		for k := range inner {
			a := x[r*inner+k]
			for c, b := range y[k*cols : (k+1)*cols] {
				line[c] += a * b
			}
		}
	}
}

func gemm(b *builder) (kernel, error) {
	if err := b.arity(2, 3); err != nil {
		return nil, err
	}
	alpha, beta := b.float("alpha", 1), b.float("beta", 1)
	ta, tb := b.integer("transA", 0) != 0, b.integer("transB", 0) != 0
	return func(in, out []*tensor) error {
		x, y := in[0], in[1]
		if len(x.shape) != 2 || len(y.shape) != 2 {
			return badShape("%v by %v", slices.Clone(x.shape), slices.Clone(y.shape))
		}
		rows, inner, xr, xc := x.shape[0], x.shape[1], x.shape[1], 1
		if ta {
			rows, inner, xr, xc = inner, rows, 1, x.shape[1]
		}
		deep, cols, yr, yc := y.shape[0], y.shape[1], y.shape[1], 1
		if tb {
			deep, cols, yr, yc = cols, deep, 1, y.shape[1]
		}
		if inner != deep {
			return badShape("%v by %v", slices.Clone(x.shape), slices.Clone(y.shape))
		}
		if err := out[0].reset(kindFloat, rows, cols); err != nil {
			return err
		}
		if err := out[0].charge(rows, inner, cols); err != nil {
			return err
		}
		for r := range rows {
			for c := range cols {
				sum := 0.0
				for k := range inner {
					sum += x.data[r*xr+k*xc] * y.data[k*yr+c*yc]
				}
				out[0].data[r*cols+c] = alpha * sum
			}
		}
		if len(in) < 3 || in[2] == nil {
			return nil
		}
		var shape, zs, bs [maxRank]int
		if len(in[2].shape) > 2 {
			return badShape("a bias of %v", slices.Clone(in[2].shape))
		}
		if err := broadcast(out[0], in[2], shape[:2], zs[:2], bs[:2]); err != nil {
			return err
		}
		if shape[0] != rows || shape[1] != cols {
			return badShape("a bias of %v", slices.Clone(in[2].shape))
		}
		for r := range rows {
			for c := range cols {
				out[0].data[r*cols+c] += beta * in[2].data[r*bs[0]+c*bs[1]]
			}
		}
		return nil
	}, nil
}

func clip(b *builder) (kernel, error) {
	if err := b.arity(1, 3); err != nil {
		return nil, err
	}
	least, most := b.float("min", math.Inf(-1)), b.float("max", math.Inf(1))
	return func(in, out []*tensor) error {
		low, high := least, most
		if len(in) > 1 && in[1] != nil {
			if len(in[1].data) != 1 {
				return badShape("a minimum of %v", slices.Clone(in[1].shape))
			}
			low = in[1].data[0]
		}
		if len(in) > 2 && in[2] != nil {
			if len(in[2].data) != 1 {
				return badShape("a maximum of %v", slices.Clone(in[2].shape))
			}
			high = in[2].data[0]
		}
		if err := out[0].reset(in[0].kind, in[0].shape...); err != nil {
			return err
		}
		for i, x := range in[0].data {
			out[0].data[i] = math.Min(math.Max(x, low), high)
		}
		return nil
	}, nil
}

func softmaxOp(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	otherwise := int64(-1)
	if b.opset < 13 {
		otherwise = 1
	}
	axis := b.integer("axis", otherwise)
	return func(in, out []*tensor) error {
		at, err := in[0].axis(axis)
		if err != nil {
			return err
		}
		if at != len(in[0].shape)-1 {
			return &UnsupportedOperatorError{Op: "Softmax", Reason: "along another axis than the last"}
		}
		if err := out[0].reset(kindFloat, in[0].shape...); err != nil {
			return err
		}
		copy(out[0].data, in[0].data)
		width := in[0].shape[at]
		for from := 0; width > 0 && from < len(out[0].data); from += width {
			softmax(out[0].data[from : from+width])
		}
		return nil
	}, nil
}

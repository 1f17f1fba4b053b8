package onnx

import (
	"math"
	"slices"
)

// The operators of the ai.onnx.ml domain.

func scaler(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	offset, scale := b.floats("offset"), b.floats("scale")
	return func(in, out []*tensor) error {
		rows, cols, err := in[0].matrix()
		if err != nil {
			return err
		}
		for _, a := range [2][]float64{offset, scale} {
			if len(a) > 1 && len(a) != cols {
				return badShape("%d parameters for %d columns", len(a), cols)
			}
		}
		if err := out[0].reset(kindFloat, rows, cols); err != nil {
			return err
		}
		x, y := in[0].data, out[0].data
		for r := range rows {
			for c := range cols {
				i := r*cols + c
				y[i] = (x[i] - one(offset, c, 0)) * one(scale, c, 1)
			}
		}
		return nil
	}, nil
}

// one is a parameter that is given per column, once for all, or not at all.
func one(a []float64, c int, otherwise float64) float64 {
	switch len(a) {
	case 0:
		return otherwise
	case 1:
		return a[0]
	default:
		return a[c]
	}
}

func linearRegressor(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	post, err := postTransform(b)
	if err != nil {
		return nil, err
	}
	coefficients, intercepts := b.floats("coefficients"), b.floats("intercepts")
	targets := int(b.integer("targets", 1))
	if targets < 1 || targets > maxValues || len(coefficients) == 0 || len(coefficients)%targets != 0 ||
		(len(intercepts) != 0 && len(intercepts) != targets) {
		return nil, malformed("%d coefficients and %d intercepts for %d targets", len(coefficients), len(intercepts), targets)
	}
	return func(in, out []*tensor) error {
		return linear(in[0], out[0], coefficients, intercepts, targets, post)
	}, nil
}

func linear(x, y *tensor, coefficients, intercepts []float64, targets int, post func([]float64)) error {
	rows, cols, err := x.matrix()
	if err != nil {
		return err
	}
	if cols*targets != len(coefficients) {
		return badShape("%d coefficients for %d columns and %d targets", len(coefficients), cols, targets)
	}
	if err := y.reset(kindFloat, rows, targets); err != nil {
		return err
	}
	if err := y.charge(rows, cols, targets); err != nil {
		return err
	}
	for r := range rows {
		row, scores := x.data[r*cols:(r+1)*cols], y.data[r*targets:(r+1)*targets]
		for k := range scores {
			sum := 0.0
			for c, w := range coefficients[k*cols : (k+1)*cols] {
				sum += w * row[c]
			}
			if len(intercepts) > 0 {
				sum += intercepts[k]
			}
			scores[k] = sum
		}
		if post != nil {
			post(scores)
		}
	}
	return nil
}

func linearClassifier(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	post, err := postTransform(b)
	if err != nil {
		return nil, err
	}
	coefficients, intercepts := b.floats("coefficients"), b.floats("intercepts")
	ints, strings := b.node.attrs["classlabels_ints"].ints, b.node.attrs["classlabels_strings"].strings
	classes := max(len(ints), len(strings))
	lines := len(intercepts)
	if lines == 0 {
		lines = classes
	}
	if classes < 1 || lines < 1 || len(coefficients) == 0 || len(coefficients)%lines != 0 ||
		(lines != classes && !(lines == 1 && classes == 2)) {
		return nil, malformed("%d coefficients and %d intercepts for %d classes", len(coefficients), len(intercepts), classes)
	}
	logistic := b.text("post_transform", "NONE") == "LOGISTIC"
	second := lines == 1 && classes == 2 // one line separates two classes
	return func(in, out []*tensor) error {
		scores := &tensor{}
		if len(out) > 1 && out[1] != nil {
			scores = out[1]
		}
		each := post
		if second {
			each = nil
		}
		if err := linear(in[0], scores, coefficients, intercepts, lines, each); err != nil {
			return err
		}
		rows := scores.shape[0]
		if second {
			widen(scores, rows, logistic)
		}
		if out[0] == nil {
			return nil
		}
		if err := out[0].reset(kindInt, rows); err != nil {
			return err
		}
		if len(ints) == 0 { // string labels cannot be computed with
			return &UnsupportedOperatorError{Op: "ai.onnx.ml.LinearClassifier", Reason: "computing with string labels"}
		}
		for r := range rows {
			row := scores.data[r*classes : (r+1)*classes]
			best := 0
			for k, s := range row {
				if s > row[best] {
					best = k
				}
			}
			out[0].data[r] = float64(ints[best])
		}
		return nil
	}, nil
}

// widen makes two columns of one: the probability and its complement, or the
// score and its negative, as onnxruntime does.
func widen(t *tensor, rows int, logistic bool) {
	t.data = slices.Grow(t.data, rows)[:2*rows]
	t.shape[1] = 2
	for r := rows - 1; r >= 0; r-- { // backwards, so that no score is overwritten before it is read
		s := t.data[r]
		if logistic {
			t.data[2*r], t.data[2*r+1] = sigmoid(-s), sigmoid(s)
		} else {
			t.data[2*r], t.data[2*r+1] = -s, s
		}
	}
}

func postTransform(b *builder) (func([]float64), error) {
	switch name := b.text("post_transform", "NONE"); name {
	case "NONE":
		return nil, nil
	case "LOGISTIC":
		return func(s []float64) {
			for i, x := range s {
				s[i] = sigmoid(x)
			}
		}, nil
	case "SOFTMAX":
		return softmax, nil
	case "SOFTMAX_ZERO":
		return func(s []float64) {
			most := math.Inf(-1)
			for _, x := range s {
				most = math.Max(most, x)
			}
			sum := 0.0
			for i, x := range s {
				if math.Abs(x) > 1e-7 {
					s[i] = math.Exp(x - most)
				} else {
					s[i] = x * math.Exp(-most)
				}
				sum += s[i]
			}
			for i := range s {
				s[i] /= sum
			}
		}, nil
	default:
		return nil, &UnsupportedOperatorError{Op: b.node.qualified(), Reason: "post_transform " + name}
	}
}

func normalizer(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	norm := b.text("norm", "MAX")
	if norm != "MAX" && norm != "L1" && norm != "L2" {
		return nil, malformed("norm %q", norm)
	}
	return func(in, out []*tensor) error {
		rows, cols, err := in[0].matrix()
		if err != nil {
			return err
		}
		if err := out[0].reset(kindFloat, rows, cols); err != nil {
			return err
		}
		for r := range rows {
			x, y := in[0].data[r*cols:(r+1)*cols], out[0].data[r*cols:(r+1)*cols]
			by := 0.0
			for i, v := range x {
				switch norm {
				case "L1":
					by += math.Abs(v)
				case "L2":
					by += v * v
				default:
					if i == 0 || v > by {
						by = v
					}
				}
			}
			if norm == "L2" {
				by = math.Sqrt(by)
			}
			if by == 0 {
				by = 1
			}
			for i, v := range x {
				y[i] = v / by
			}
		}
		return nil
	}, nil
}

func imputer(b *builder) (kernel, error) {
	if err := b.arity(1, 1); err != nil {
		return nil, err
	}
	values, missing := b.floats("imputed_value_floats"), b.float("replaced_value_float", 0)
	if len(values) == 0 {
		for _, x := range b.node.attrs["imputed_value_int64s"].ints {
			values = append(values, float64(x))
		}
		missing = float64(b.integer("replaced_value_int64", 0))
	}
	if len(values) == 0 {
		return nil, malformed("no imputed values")
	}
	return func(in, out []*tensor) error {
		rows, cols, err := in[0].matrix()
		if err != nil {
			return err
		}
		if len(values) != 1 && len(values) != cols {
			return badShape("%d values for %d columns", len(values), cols)
		}
		if err := out[0].reset(in[0].kind, rows, cols); err != nil {
			return err
		}
		for i, x := range in[0].data {
			if x == missing || (math.IsNaN(missing) && math.IsNaN(x)) {
				x = one(values, i%cols, 0)
			}
			out[0].data[i] = x
		}
		return nil
	}, nil
}

func binarizer(b *builder) (kernel, error) {
	threshold := b.float("threshold", 0)
	return unary(b, func(x float64) float64 {
		if x > threshold {
			return 1
		}
		return 0
	})
}

// arrayFeatureExtractor picks indices along the last axis.
func arrayFeatureExtractor(b *builder) (kernel, error) {
	if err := b.arity(2, 2); err != nil {
		return nil, err
	}
	return func(in, out []*tensor) error {
		x, at := in[0], in[1]
		if len(x.shape) == 0 {
			return badShape("a scalar")
		}
		last := x.shape[len(x.shape)-1]
		rows := 0
		if last > 0 {
			rows = len(x.data) / last
		}
		if err := out[0].reset(x.kind, append(slices.Clone(x.shape[:len(x.shape)-1]), len(at.data))...); err != nil {
			return err
		}
		if len(x.shape) == 1 {
			out[0].shape = append(out[0].shape[:0], 1, len(at.data))
		}
		for i, f := range at.data {
			k := int(f)
			if k < 0 || k >= last {
				return badShape("index %d of %d", k, last)
			}
			for r := range rows {
				out[0].data[r*len(at.data)+i] = x.data[r*last+k]
			}
		}
		return nil
	}, nil
}

func featureVectorizer(b *builder) (kernel, error) {
	b.node.attrs["axis"] = protoAttr{i: 1}
	return concat(b)
}

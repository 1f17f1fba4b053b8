// Package logistic is the suite's own trainer: a logistic regression with an L2
// penalty on standardised features. It is deterministic: the same rows give the
// same bytes.
package logistic

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// A Model is a fitted regression: p = 1/(1+exp(-(Bias + Σ Weights·(x-Mean)/Scale))).
type Model struct {
	Mean, Scale, Weights []float64
	Bias                 float64
	Iterations           int
}

// Errors about rows that nothing can be learned from.
var (
	ErrOneClass = errors.New("all labels are the same: there is nothing to tell apart")
	ErrNoRows   = errors.New("there are no rows")
)

const (
	maxIterations = 100
	tolerance     = 1e-10 // of the gradient's largest component, per row
)

// Fit minimises mean log loss + l2/2·‖w‖² over standardised columns by Newton's
// method; the bias is not penalised. With n rows it is scikit-learn's
// LogisticRegression(C=1/(n·l2)) behind a StandardScaler; l2 = 0 does not penalise.
// Columns are features × rows, labels 0 or 1.
func Fit(columns [][]float64, labels []float64, l2 float64) (*Model, error) {
	n, d := len(labels), len(columns)
	if n == 0 {
		return nil, ErrNoRows
	}
	if l2 < 0 || math.IsNaN(l2) || math.IsInf(l2, 0) {
		return nil, fmt.Errorf("l2 is %v; it must be 0 or more", l2)
	}
	positives := 0.0
	for i, y := range labels {
		if y != 0 && y != 1 {
			return nil, fmt.Errorf("label %v in row %d; 0 and 1 are labels", y, i)
		}
		positives += y
	}
	if positives == 0 || positives == float64(n) {
		return nil, ErrOneClass
	}
	m := &Model{Mean: make([]float64, d), Scale: make([]float64, d), Weights: make([]float64, d)}
	x := make([][]float64, d)
	for j, c := range columns {
		if len(c) != n {
			return nil, fmt.Errorf("column %d has %d rows for %d labels", j, len(c), n)
		}
		var err error
		if x[j], m.Mean[j], m.Scale[j], err = standardise(c); err != nil {
			return nil, fmt.Errorf("column %d: %w", j, err)
		}
	}
	m.Bias = math.Log(positives / (float64(n) - positives))
	if err := m.newton(x, labels, l2); err != nil {
		return nil, err
	}
	return m, nil
}

// standardise centres and scales a column; a constant one keeps the scale 1, and
// so has no influence.
func standardise(c []float64) (out []float64, mean, scale float64, err error) {
	for i, v := range c {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, 0, 0, fmt.Errorf("row %d is %v; give the feature a value for what is missing", i, v)
		}
		mean += v
	}
	mean /= float64(len(c))
	out = make([]float64, len(c))
	for i, v := range c {
		out[i] = v - mean
		scale += out[i] * out[i]
	}
	scale = math.Sqrt(scale / float64(len(c)))
	if scale <= 1e-12*math.Max(1, math.Abs(mean)) {
		scale = 1
	}
	for i := range out {
		out[i] /= scale
	}
	return out, mean, scale, nil
}

// newton improves the model until its gradient vanishes. A step that does not
// lower the loss is halved, so that separable data ends too.
func (m *Model) newton(x [][]float64, y []float64, l2 float64) error {
	n, d := len(y), len(x)
	p := d + 1 // the bias is the last parameter
	theta, next := make([]float64, p), make([]float64, p)
	theta[d] = m.Bias
	z, curve := make([]float64, n), make([]float64, n)
	gradient, hessian := mat.NewVecDense(p, nil), mat.NewSymDense(p, nil)
	var chol mat.Cholesky
	var step mat.VecDense

	loss := m.loss(x, y, theta, l2, z)
	for m.Iterations = 0; m.Iterations < maxIterations; m.Iterations++ {
		// curve holds first the residuals, then the weights of the Hessian.
		for i, s := range z {
			curve[i] = sigmoid(s) - y[i]
		}
		largest := 0.0
		for j := range p {
			var g float64
			if j < d {
				g = floats.Dot(x[j], curve)
			} else {
				g = floats.Sum(curve)
			}
			g /= float64(n)
			if j < d {
				g += l2 * theta[j]
			}
			gradient.SetVec(j, g)
			largest = math.Max(largest, math.Abs(g))
		}
		if largest < tolerance {
			break
		}
		for i := range curve {
			q := curve[i] + y[i]
			curve[i] = q * (1 - q) / float64(n)
		}
		fillHessian(hessian, x, curve, l2)
		if !chol.Factorize(hessian) {
			// Columns that repeat each other leave the matrix singular; a small
			// ridge picks one of the equal solutions.
			for j := range p {
				hessian.SetSym(j, j, hessian.At(j, j)+1e-8)
			}
			if !chol.Factorize(hessian) {
				return errors.New("the features leave the problem singular")
			}
		}
		if err := chol.SolveVecTo(&step, gradient); err != nil {
			var ill mat.Condition
			if !errors.As(err, &ill) {
				return err
			}
		}
		improved := false
		for scale := 1.0; scale > 1e-6; scale /= 2 {
			for j := range p {
				next[j] = theta[j] - scale*step.AtVec(j)
			}
			if l := m.loss(x, y, next, l2, z); l < loss {
				loss, improved = l, true
				copy(theta, next)
				break
			}
		}
		if !improved { // at the limit of precision
			break
		}
	}
	copy(m.Weights, theta[:d])
	m.Bias = theta[d]
	for _, w := range theta {
		if math.IsNaN(w) || math.IsInf(w, 0) {
			return errors.New("the weights diverge; set l2 above 0")
		}
	}
	return nil
}

// loss leaves the linear scores in z.
func (m *Model) loss(x [][]float64, y, theta []float64, l2 float64, z []float64) float64 {
	d := len(x)
	for i := range z {
		z[i] = theta[d]
	}
	penalty := 0.0
	for j, c := range x {
		w := theta[j]
		penalty += w * w
		floats.AddScaled(z, w, c)
	}
	sum := 0.0
	for i, s := range z {
		// -log p of the label, without overflow
		if y[i] == 1 {
			s = -s
		}
		if s > 0 {
			sum += s + math.Log1p(math.Exp(-s))
		} else {
			sum += math.Log1p(math.Exp(s))
		}
	}
	return sum/float64(len(y)) + l2/2*penalty
}

// block is how many rows the Hessian takes at once: few enough that all of their
// columns stay in the processor's cache.
const block = 1024

func fillHessian(h *mat.SymDense, x [][]float64, curve []float64, l2 float64) {
	d := len(x)
	h.Zero()
	weighted := make([]float64, block)
	for from := 0; from < len(curve); from += block {
		to := min(from+block, len(curve))
		q := curve[from:to]
		for j := range d {
			w := weighted[:len(q)]
			floats.MulTo(w, x[j][from:to], q)
			for k := j; k < d; k++ {
				h.SetSym(j, k, h.At(j, k)+floats.Dot(w, x[k][from:to]))
			}
			h.SetSym(j, d, h.At(j, d)+floats.Sum(w))
		}
		h.SetSym(d, d, h.At(d, d)+floats.Sum(q))
	}
	for j := range d {
		h.SetSym(j, j, h.At(j, j)+l2)
	}
}

func sigmoid(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + math.Exp(-x))
	}
	e := math.Exp(x)
	return e / (1 + e)
}

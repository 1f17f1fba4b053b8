package onnx

import (
	"encoding/json"
	"slices"
	"sync"
)

// A DataType is the element type of an input.
type DataType string

// Element types of inputs that can be scored.
const (
	Float  DataType = "float"
	Double DataType = "double"
	Int64  DataType = "int64"
)

// An Input is what a graph expects: a column, or a matrix of several.
type Input struct {
	Name  string
	Type  DataType
	Shape []int64 // -1 where any size fits; the first is the rows
	Width int     // columns; 0 where the graph does not say
}

// A Graph is a loaded model.
type Graph struct {
	inputs   []Input
	metadata map[string]string
	columns  []string

	steps   []step
	consts  []*tensor // by value; nil where computed
	values  int
	score   int // the value that holds the scores
	classes int // of a classifier; 0: regression
	frames  sync.Pool
}

// a kernel computes one node. In and out are by position; an absent optional input is nil.
type kernel func(in, out []*tensor) error

type step struct {
	op      string
	run     kernel
	in, out []int // values; -1: absent
}

// frame holds the buffers of one scoring.
type frame struct {
	values  []*tensor
	scratch []tensor
	meter   meter
	in, out [][]*tensor // per step, resolved once
}

// Load parses and checks a model. Errors wrap ErrMalformed or ErrShape, or are an
// *UnsupportedOperatorError.
func Load(b []byte) (*Graph, error) {
	if len(b) > maxBytes {
		return nil, malformed("%d bytes, at most %d", len(b), maxBytes)
	}
	m, err := parseModel(b)
	if err != nil {
		return nil, err
	}
	g := &Graph{metadata: m.metadata}
	if text, ok := m.metadata[columnsKey]; ok {
		if err := json.Unmarshal([]byte(text), &g.columns); err != nil {
			return nil, malformed("metadata %s: %v", columnsKey, err)
		}
	}
	c := compiler{graph: g, model: m, index: map[string]int{}, producer: map[string]int{}}
	if err := c.compile(); err != nil {
		return nil, err
	}
	g.frames.New = func() any { return g.newFrame() }
	if err := g.try(); err != nil {
		return nil, err
	}
	return g, nil
}

// try scores a row, so that shapes that can never fit are found when loading.
func (g *Graph) try() error {
	cols := g.Columns()
	if cols == 0 {
		return nil
	}
	_, err := g.Score(make([]float32, 2*cols), 2, cols)
	return err
}

// Inputs returns what the graph expects, in order.
func (g *Graph) Inputs() []Input { return slices.Clone(g.inputs) }

// Columns is how many columns a row has, 0 where the graph does not say.
func (g *Graph) Columns() int {
	total := 0
	for _, in := range g.inputs {
		if in.Width == 0 {
			return 0
		}
		total += in.Width
	}
	return total
}

// ColumnNames are the names of a row's columns where the model's metadata has
// them (freshet.columns), else nil.
func (g *Graph) ColumnNames() []string { return slices.Clone(g.columns) }

// Classifier reports whether scores are probabilities of a class.
func (g *Graph) Classifier() bool { return g.classes > 0 }

// Metadata is a value of the model's metadata_props.
func (g *Graph) Metadata(key string) string { return g.metadata[key] }

// Score returns one score a row: the probability of the positive (second) class,
// or the regression's value. Features are row-major; where the graph has several
// inputs they take their columns in order.
func (g *Graph) Score(features []float32, rows, cols int) ([]float64, error) {
	out := make([]float64, max(rows, 0))
	return out, g.ScoreInto(out, features, rows, cols)
}

// ScoreInto is Score into dst, which has one element a row.
func (g *Graph) ScoreInto(dst []float64, features []float32, rows, cols int) error {
	if rows < 0 || cols < 0 || len(dst) != rows || len(features) != rows*cols {
		return badShape("%d features and %d scores for %d rows of %d columns", len(features), len(dst), rows, cols)
	}
	if want := g.Columns(); want > 0 && want != cols {
		return badShape("rows have %d columns, the model expects %d", cols, want)
	}
	if rows == 0 {
		return nil
	}
	// Large batches go through in parts, so that buffers stay in the cache and
	// within bounds whatever the batch.
	part := min(1024, max(1, (1<<18)/max(cols, 1)))
	f, ok := g.frames.Get().(*frame)
	if !ok {
		f = g.newFrame()
	}
	for from := 0; from < rows; from += part {
		n := min(part, rows-from)
		if err := g.run(f, features[from*cols:(from+n)*cols], n, cols); err != nil {
			return err // the frame may hold much: it is not kept
		}
		if err := g.read(f, dst[from:from+n]); err != nil {
			return err
		}
	}
	g.frames.Put(f)
	return nil
}

func (g *Graph) newFrame() *frame {
	f := &frame{values: make([]*tensor, g.values), scratch: make([]tensor, g.values), meter: meter{memory: maxMemory}}
	for i := range f.values {
		if f.values[i] = g.consts[i]; f.values[i] == nil {
			f.values[i] = &f.scratch[i]
			f.scratch[i].meter = &f.meter
		}
	}
	pick := func(ids []int) []*tensor {
		out := make([]*tensor, len(ids))
		for i, id := range ids {
			if id >= 0 {
				out[i] = f.values[id]
			}
		}
		return out
	}
	for _, s := range g.steps {
		f.in, f.out = append(f.in, pick(s.in)), append(f.out, pick(s.out))
	}
	return f
}

func (g *Graph) run(f *frame, features []float32, rows, cols int) error {
	f.meter.work = maxWork
	at := 0
	for i, in := range g.inputs {
		width := in.Width
		if width == 0 {
			if len(g.inputs) > 1 {
				return badShape("input %q does not say its width", in.Name)
			}
			width = cols
		}
		t := f.values[i]
		if err := t.reset(kindFloat, rows, width); err != nil {
			return err
		}
		if in.Type == Int64 {
			t.kind = kindInt
		}
		for r := range rows {
			row, from := t.data[r*width:(r+1)*width], features[r*cols+at:]
			for c := range row {
				row[c] = float64(from[c])
			}
		}
		if len(in.Shape) == 1 {
			t.shape = t.shape[:1]
			if width != 1 {
				return badShape("input %q is a vector", in.Name)
			}
		}
		at += width
	}
	for i := range g.steps {
		if err := g.steps[i].run(f.in[i], f.out[i]); err != nil {
			return wrapOp(g.steps[i].op, err)
		}
	}
	return nil
}

func (g *Graph) read(f *frame, dst []float64) error {
	t, rows := f.values[g.score], len(dst)
	if rows == 0 || len(t.data)%rows != 0 || len(t.shape) == 0 || t.shape[0] != rows {
		return badShape("scores of shape %v for %d rows", t.shape, rows)
	}
	width := len(t.data) / rows
	at := 0
	switch {
	case width == 2:
		at = 1 // two classes: the second is the positive one
	case width != 1:
		return badShape("%d values a row; one score is wanted, or the probabilities of two classes", width)
	}
	for r := range dst {
		dst[r] = t.data[r*width+at]
	}
	return nil
}

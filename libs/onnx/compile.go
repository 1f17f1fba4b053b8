package onnx

import "fmt"

// compiler turns a parsed graph into steps in an order that computes the score,
// leaving out what the score does not need: labels, mostly.
type compiler struct {
	graph    *Graph
	model    *protoModel
	index    map[string]int // value names
	producer map[string]int // value name → node
	known    map[string]*tensor
	needed   map[string]bool // values that a step or the score reads
}

func wrapOp(op string, err error) error { return fmt.Errorf("%s: %w", op, err) }

func (n *protoNode) qualified() string {
	if n.domain == "" {
		return n.op
	}
	return n.domain + "." + n.op
}

func (c *compiler) compile() error {
	p := c.model.graph
	c.known = p.initializers
	for i := range p.nodes {
		n := &p.nodes[i]
		if _, ok := builders[n.qualified()]; !ok {
			return &UnsupportedOperatorError{Op: n.qualified()}
		}
		for _, a := range n.attrs {
			if a.graph {
				return &UnsupportedOperatorError{Op: n.qualified(), Reason: "with a graph inside"}
			}
		}
		for _, out := range n.outputs {
			if out == "" {
				continue
			}
			if _, twice := c.producer[out]; twice || c.known[out] != nil {
				return malformed("%q is computed twice", out)
			}
			c.producer[out] = i
		}
	}
	if err := c.inputs(); err != nil {
		return err
	}
	target, err := c.target()
	if err != nil {
		return err
	}
	order, err := c.order(target)
	if err != nil {
		return err
	}
	c.needed = map[string]bool{target: true}
	for _, i := range order {
		for _, in := range p.nodes[i].inputs {
			c.needed[in] = true
		}
	}
	for _, i := range order {
		if err := c.step(&p.nodes[i]); err != nil {
			return err
		}
	}
	id, ok := c.index[target]
	if !ok {
		return malformed("the score %q is never computed", target)
	}
	c.graph.score = id
	return nil
}

func (c *compiler) value(name string) int {
	id, ok := c.index[name]
	if !ok {
		id = c.graph.values
		c.index[name] = id
		c.graph.values++
		c.graph.consts = append(c.graph.consts, c.known[name])
	}
	return id
}

func (c *compiler) inputs() error {
	for _, v := range c.model.graph.inputs {
		if c.known[v.name] != nil { // older files list constants as inputs
			continue
		}
		_, twice := c.index[v.name]
		if _, computed := c.producer[v.name]; twice || computed || v.name == "" {
			return malformed("input %q", v.name)
		}
		in := Input{Name: v.name, Shape: v.shape}
		switch v.elem {
		case typeFloat:
			in.Type = Float
		case typeDouble:
			in.Type = Double
		case typeInt64:
			in.Type = Int64
		default:
			return &UnsupportedOperatorError{Op: "input", Reason: fmt.Sprintf("%q is not of floats or integers", v.name)}
		}
		switch {
		case !v.known:
		case len(v.shape) == 1:
			in.Width = 1
		case len(v.shape) == 2:
			if w := v.shape[1]; w > 0 && w <= maxValues {
				in.Width = int(w)
			} else if w > maxValues {
				return malformed("input %q has %d columns", v.name, w)
			}
		default:
			return &UnsupportedOperatorError{Op: "input", Reason: fmt.Sprintf("%q has rank %d", v.name, len(v.shape))}
		}
		c.value(v.name)
		c.graph.inputs = append(c.graph.inputs, in)
	}
	if len(c.graph.inputs) == 0 {
		return malformed("there is no input")
	}
	return nil
}

// target finds the value that holds the scores: what a ZipMap names, else a
// classifier's probabilities, else the last float output.
func (c *compiler) target() (string, error) {
	p := c.model.graph
	var score string
	for _, out := range p.outputs {
		i, computed := c.producer[out.name]
		if !computed {
			continue
		}
		n := &p.nodes[i]
		if n.qualified() == "ai.onnx.ml.ZipMap" {
			if len(n.inputs) != 1 {
				return "", malformed("ZipMap with %d inputs", len(n.inputs))
			}
			classes := max(len(n.attrs["classlabels_int64s"].ints), len(n.attrs["classlabels_strings"].strings))
			if classes != 2 {
				return "", &UnsupportedOperatorError{Op: n.qualified(), Reason: fmt.Sprintf("%d classes; two are scored", classes)}
			}
			c.graph.classes = classes
			return n.inputs[0], nil
		}
		if out.elem == typeFloat || out.elem == typeDouble {
			score = out.name
		}
	}
	if score == "" {
		return "", &UnsupportedOperatorError{Op: "output", Reason: "none is of floats"}
	}
	for i := range p.nodes {
		if n := &p.nodes[i]; n.qualified() == "ai.onnx.ml.LinearClassifier" {
			classes := max(len(n.attrs["classlabels_ints"].ints), len(n.attrs["classlabels_strings"].strings))
			if classes > 2 {
				return "", &UnsupportedOperatorError{Op: n.qualified(), Reason: fmt.Sprintf("%d classes; two are scored", classes)}
			}
			c.graph.classes = 2
		}
	}
	return score, nil
}

// order lists the nodes that a value needs, each after what it needs itself.
func (c *compiler) order(target string) ([]int, error) {
	p := c.model.graph
	const (
		unseen = iota
		open
		done
	)
	state := make([]uint8, len(p.nodes))
	var order []int
	// An explicit stack: a hostile file must not deepen ours.
	type visit struct{ node, input int }
	var stack []visit
	push := func(name string) error {
		if name == "" || c.known[name] != nil {
			return nil
		}
		i, computed := c.producer[name]
		if !computed {
			if _, isInput := c.index[name]; !isInput {
				return malformed("%q comes from nowhere", name)
			}
			return nil
		}
		switch state[i] {
		case open:
			return malformed("%q depends on itself", name)
		case unseen:
			state[i] = open
			stack = append(stack, visit{node: i})
		}
		return nil
	}
	if err := push(target); err != nil {
		return nil, err
	}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if n := &p.nodes[top.node]; top.input < len(n.inputs) {
			top.input++
			if err := push(n.inputs[top.input-1]); err != nil {
				return nil, err
			}
			continue
		}
		state[top.node] = done
		order = append(order, top.node)
		stack = stack[:len(stack)-1]
	}
	return order, nil
}

func (c *compiler) step(n *protoNode) error {
	b := builder{node: n, opset: c.model.opsets[""], known: c.known}
	if n.qualified() == "Constant" {
		if len(n.outputs) != 1 {
			return malformed("Constant with %d outputs", len(n.outputs))
		}
		t, err := b.constant()
		if err != nil {
			return err
		}
		c.known[n.outputs[0]] = t
		return nil
	}
	for _, in := range n.inputs {
		if t := c.known[in]; t != nil && t.kind == kindString {
			return &UnsupportedOperatorError{Op: n.qualified(), Reason: "computing with strings"}
		}
	}
	run, err := builders[n.qualified()](&b)
	if err != nil {
		return wrapOp(n.qualified(), err)
	}
	s := step{op: n.qualified(), run: run}
	for _, in := range n.inputs {
		id := -1
		if in != "" {
			id = c.value(in)
		}
		s.in = append(s.in, id)
	}
	for _, out := range n.outputs {
		id := -1
		if out != "" && c.needed[out] { // a label that nobody reads is not worth computing
			id = c.value(out)
		}
		s.out = append(s.out, id)
	}
	if len(s.out) == 0 || s.out[0] < 0 && s.op != "ai.onnx.ml.LinearClassifier" {
		return malformed("%s without an output", s.op)
	}
	c.graph.steps = append(c.graph.steps, s)
	return nil
}

// builder gives an operator's constructor its attributes and constants.
type builder struct {
	node  *protoNode
	opset int64
	known map[string]*tensor
}

// arity checks the number of inputs; the required ones must be named.
func (b *builder) arity(least, most int) error {
	if n := len(b.node.inputs); n < least || n > most {
		return malformed("%d inputs", n)
	}
	for i := range least {
		if b.node.inputs[i] == "" {
			return malformed("input %d is missing", i)
		}
	}
	return nil
}

func (b *builder) integer(name string, otherwise int64) int64 {
	if a, ok := b.node.attrs[name]; ok {
		return a.i
	}
	return otherwise
}

func (b *builder) float(name string, otherwise float64) float64 {
	if a, ok := b.node.attrs[name]; ok {
		return float64(a.f)
	}
	return otherwise
}

func (b *builder) text(name, otherwise string) string {
	if a, ok := b.node.attrs[name]; ok {
		return a.s
	}
	return otherwise
}

func (b *builder) floats(name string) []float64 {
	fs := b.node.attrs[name].floats
	out := make([]float64, len(fs))
	for i, f := range fs {
		out[i] = float64(f)
	}
	return out
}

// constInts is an input that must be known when loading, such as a shape.
func (b *builder) constInts(i int) (values []int64, given bool, err error) {
	if i >= len(b.node.inputs) || b.node.inputs[i] == "" {
		return nil, false, nil
	}
	t := b.known[b.node.inputs[i]]
	if t == nil {
		return nil, false, &UnsupportedOperatorError{Op: b.node.qualified(), Reason: "a shape or axis that is computed"}
	}
	if t.kind != kindInt {
		return nil, false, malformed("input %d is not of integers", i)
	}
	for _, x := range t.data {
		values = append(values, int64(x))
	}
	return values, true, nil
}

// axes are an attribute in older operator sets, an input in newer ones.
func (b *builder) axes() ([]int64, bool, error) {
	if a, ok := b.node.attrs["axes"]; ok {
		return a.ints, true, nil
	}
	return b.constInts(1)
}

func (b *builder) constant() (*tensor, error) {
	if a, ok := b.node.attrs["value"]; ok && a.t != nil {
		return a.t, nil
	}
	if a, ok := b.node.attrs["value_float"]; ok {
		return &tensor{kind: kindFloat, data: []float64{float64(a.f)}}, nil
	}
	if a, ok := b.node.attrs["value_int"]; ok {
		return &tensor{kind: kindInt, data: []float64{float64(a.i)}}, nil
	}
	if a, ok := b.node.attrs["value_floats"]; ok {
		return &tensor{kind: kindFloat, shape: []int{len(a.floats)}, data: b.floats("value_floats")}, nil
	}
	if a, ok := b.node.attrs["value_ints"]; ok {
		t := &tensor{kind: kindInt, shape: []int{len(a.ints)}}
		for _, x := range a.ints {
			t.data = append(t.data, float64(x))
		}
		return t, nil
	}
	return nil, malformed("Constant without a value")
}

package onnx

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of what Load accepts. A linear model is far below them.
const (
	maxBytes    = 64 << 20
	maxNodes    = 4096
	maxValues   = 16384
	maxRank     = 8
	maxElements = 1 << 22 // of one tensor, at rest and while scoring
)

// Element types of TensorProto.
const (
	typeFloat  = 1
	typeInt32  = 6
	typeInt64  = 7
	typeString = 8
	typeBool   = 9
	typeDouble = 11
)

type protoModel struct {
	opsets   map[string]int64
	metadata map[string]string
	graph    *protoGraph
}

type protoGraph struct {
	name         string
	nodes        []protoNode
	initializers map[string]*tensor
	inputs       []protoValue
	outputs      []protoValue
}

type protoNode struct {
	domain, op, name string
	inputs, outputs  []string
	attrs            map[string]protoAttr
}

type protoAttr struct {
	f       float32
	i       int64
	s       string
	t       *tensor
	floats  []float32
	ints    []int64
	strings []string
	graph   bool
}

type protoValue struct {
	name  string
	elem  int32 // 0 when it is not a tensor
	shape []int64
	known bool // the shape is stated
}

// each calls fn for every field of a message.
func each(b []byte, fn func(num protowire.Number, f field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed("%v", protowire.ParseError(n))
		}
		b = b[n:]
		var f field
		f.typ = typ
		switch typ {
		case protowire.VarintType:
			f.v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			f.v = uint64(v)
		case protowire.Fixed64Type:
			f.v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.b, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return malformed("%v", protowire.ParseError(n))
		}
		b = b[n:]
		if err := fn(num, f); err != nil {
			return err
		}
	}
	return nil
}

type field struct {
	typ protowire.Type
	v   uint64
	b   []byte
}

// ints appends a repeated integer field, packed or not.
func (f field) ints(to []int64) ([]int64, error) {
	if f.typ == protowire.VarintType {
		return append(to, int64(f.v)), nil
	}
	if f.typ != protowire.BytesType {
		return nil, malformed("integers of wire type %d", f.typ)
	}
	for b := f.b; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, malformed("%v", protowire.ParseError(n))
		}
		to, b = append(to, int64(v)), b[n:]
	}
	return to, nil
}

// floats32 appends a repeated float field, packed or not.
func (f field) floats32(to []float32) ([]float32, error) {
	if f.typ == protowire.Fixed32Type {
		return append(to, math.Float32frombits(uint32(f.v))), nil
	}
	if f.typ != protowire.BytesType || len(f.b)%4 != 0 {
		return nil, malformed("floats of %d bytes", len(f.b))
	}
	for b := f.b; len(b) > 0; b = b[4:] {
		to = append(to, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return to, nil
}

func parseModel(b []byte) (*protoModel, error) {
	m := &protoModel{opsets: map[string]int64{}, metadata: map[string]string{}}
	err := each(b, func(num protowire.Number, f field) (err error) {
		switch num {
		case 7:
			if m.graph != nil {
				return malformed("two graphs")
			}
			m.graph, err = parseGraph(f.b)
		case 8:
			var domain string
			var version int64
			if err := each(f.b, func(num protowire.Number, f field) error {
				switch num {
				case 1:
					domain = string(f.b)
				case 2:
					version = int64(f.v)
				}
				return nil
			}); err != nil {
				return err
			}
			m.opsets[canonicalDomain(domain)] = version
		case 14:
			key, value, err := parsePair(f.b)
			if err != nil {
				return err
			}
			m.metadata[key] = value
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if m.graph == nil {
		return nil, malformed("there is no graph")
	}
	return m, nil
}

func canonicalDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

func parsePair(b []byte) (key, value string, err error) {
	err = each(b, func(num protowire.Number, f field) error {
		switch num {
		case 1:
			key = string(f.b)
		case 2:
			value = string(f.b)
		}
		return nil
	})
	return key, value, err
}

func parseGraph(b []byte) (*protoGraph, error) {
	g := &protoGraph{initializers: map[string]*tensor{}}
	err := each(b, func(num protowire.Number, f field) error {
		switch num {
		case 1:
			if len(g.nodes) == maxNodes {
				return malformed("more than %d nodes", maxNodes)
			}
			n, err := parseNode(f.b)
			if err != nil {
				return err
			}
			g.nodes = append(g.nodes, n)
		case 2:
			g.name = string(f.b)
		case 5:
			name, t, err := parseTensor(f.b)
			if err != nil {
				return err
			}
			if _, twice := g.initializers[name]; twice || len(g.initializers) == maxValues {
				return malformed("initializer %q: twice, or too many", name)
			}
			g.initializers[name] = t
		case 11, 12:
			v, err := parseValue(f.b)
			if err != nil {
				return err
			}
			if len(g.inputs)+len(g.outputs) == maxValues {
				return malformed("more than %d inputs and outputs", maxValues)
			}
			if num == 11 {
				g.inputs = append(g.inputs, v)
			} else {
				g.outputs = append(g.outputs, v)
			}
		case 15:
			return &UnsupportedOperatorError{Op: "initializer", Reason: "sparse"}
		}
		return nil
	})
	return g, err
}

func parseNode(b []byte) (protoNode, error) {
	n := protoNode{attrs: map[string]protoAttr{}}
	err := each(b, func(num protowire.Number, f field) error {
		switch num {
		case 1:
			n.inputs = append(n.inputs, string(f.b))
		case 2:
			n.outputs = append(n.outputs, string(f.b))
		case 3:
			n.name = string(f.b)
		case 4:
			n.op = string(f.b)
		case 5:
			name, a, err := parseAttr(f.b)
			if err != nil {
				return err
			}
			n.attrs[name] = a
		case 7:
			n.domain = canonicalDomain(string(f.b))
		}
		if len(n.inputs) > maxNodes || len(n.outputs) > maxNodes || len(n.attrs) > maxNodes {
			return malformed("node %q is too large", n.name)
		}
		return nil
	})
	return n, err
}

func parseAttr(b []byte) (name string, a protoAttr, err error) {
	err = each(b, func(num protowire.Number, f field) (err error) {
		switch num {
		case 1:
			name = string(f.b)
		case 2:
			a.f = math.Float32frombits(uint32(f.v))
		case 3:
			a.i = int64(f.v)
		case 4:
			a.s = string(f.b)
		case 5:
			_, a.t, err = parseTensor(f.b)
		case 6, 11:
			a.graph = true
		case 7:
			a.floats, err = f.floats32(a.floats)
		case 8:
			a.ints, err = f.ints(a.ints)
		case 9:
			a.strings = append(a.strings, string(f.b))
		}
		return err
	})
	return name, a, err
}

func parseValue(b []byte) (protoValue, error) {
	var v protoValue
	err := each(b, func(num protowire.Number, f field) error {
		switch num {
		case 1:
			v.name = string(f.b)
		case 2:
			return each(f.b, func(num protowire.Number, f field) error {
				if num != 1 { // a sequence or a map
					return nil
				}
				return each(f.b, func(num protowire.Number, f field) error {
					switch num {
					case 1:
						v.elem = int32(f.v)
					case 2:
						v.known = true
						return each(f.b, func(num protowire.Number, f field) error {
							if num != 1 {
								return nil
							}
							dim := int64(-1)
							err := each(f.b, func(num protowire.Number, f field) error {
								if num == 1 {
									dim = int64(f.v)
								}
								return nil
							})
							v.shape = append(v.shape, dim)
							if len(v.shape) > maxRank {
								return malformed("%q has rank over %d", v.name, maxRank)
							}
							return err
						})
					}
					return nil
				})
			})
		}
		return nil
	})
	return v, err
}

func parseTensor(b []byte) (string, *tensor, error) {
	var (
		name     string
		elem     int64
		dims     []int64
		raw      []byte
		hasRaw   bool
		floats   []float32
		ints     []int64
		doubles  []float64
		texts    []string
		external bool
	)
	err := each(b, func(num protowire.Number, f field) (err error) {
		switch num {
		case 1:
			dims, err = f.ints(dims)
		case 2:
			elem = int64(f.v)
		case 4:
			floats, err = f.floats32(floats)
		case 5, 7:
			ints, err = f.ints(ints)
		case 6:
			texts = append(texts, string(f.b))
		case 8:
			name = string(f.b)
		case 9:
			raw, hasRaw = f.b, true
		case 10:
			if f.typ == protowire.Fixed64Type {
				doubles = append(doubles, math.Float64frombits(f.v))
				return nil
			}
			if len(f.b)%8 != 0 {
				return malformed("doubles of %d bytes", len(f.b))
			}
			for b := f.b; len(b) > 0; b = b[8:] {
				doubles = append(doubles, math.Float64frombits(binary.LittleEndian.Uint64(b)))
			}
		case 13:
			external = true
		case 14:
			external = external || f.v != 0
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	if external {
		return "", nil, &UnsupportedOperatorError{Op: "initializer", Reason: "data outside the file"}
	}
	if len(dims) > maxRank {
		return "", nil, malformed("tensor %q has rank %d", name, len(dims))
	}
	t := &tensor{}
	count := int64(1)
	for _, d := range dims {
		if d < 0 || d > maxElements {
			return "", nil, malformed("tensor %q has dimension %d", name, d)
		}
		if count *= d; count > maxElements {
			return "", nil, malformed("tensor %q is too large", name)
		}
		t.shape = append(t.shape, int(d))
	}
	switch elem {
	case typeFloat:
		t.kind = kindFloat
		if hasRaw {
			if floats, err = (field{typ: protowire.BytesType, b: raw}).floats32(nil); err != nil {
				return "", nil, err
			}
		}
		t.data = make([]float64, len(floats))
		for i, x := range floats {
			t.data[i] = float64(x)
		}
	case typeDouble:
		t.kind = kindFloat
		if hasRaw {
			if len(raw)%8 != 0 {
				return "", nil, malformed("doubles of %d bytes", len(raw))
			}
			for b := raw; len(b) > 0; b = b[8:] {
				doubles = append(doubles, math.Float64frombits(binary.LittleEndian.Uint64(b)))
			}
		}
		t.data = doubles
	case typeInt32, typeInt64, typeBool:
		t.kind = kindInt
		if hasRaw {
			if ints, err = rawInts(elem, raw); err != nil {
				return "", nil, err
			}
		}
		t.data = make([]float64, len(ints))
		for i, x := range ints {
			t.data[i] = float64(x)
		}
	case typeString:
		t.kind = kindString
		if int64(len(texts)) != count {
			return "", nil, malformed("tensor %q has %d strings for %d elements", name, len(texts), count)
		}
		return name, t, nil
	default:
		return "", nil, &UnsupportedOperatorError{Op: "initializer", Reason: "element type other than float, double, int or bool"}
	}
	if int64(len(t.data)) != count {
		return "", nil, malformed("tensor %q has %d values for %d elements", name, len(t.data), count)
	}
	return name, t, nil
}

func rawInts(elem int64, raw []byte) ([]int64, error) {
	width := map[int64]int{typeInt32: 4, typeInt64: 8, typeBool: 1}[elem]
	if len(raw)%width != 0 {
		return nil, malformed("integers of %d bytes", len(raw))
	}
	out := make([]int64, 0, len(raw)/width)
	for b := raw; len(b) > 0; b = b[width:] {
		switch width {
		case 8:
			out = append(out, int64(binary.LittleEndian.Uint64(b)))
		case 4:
			out = append(out, int64(int32(binary.LittleEndian.Uint32(b))))
		default:
			out = append(out, int64(b[0]))
		}
	}
	return out, nil
}

package onnx

import (
	"encoding/json"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// columnsKey is the metadata that names a row's columns, as a JSON list.
const columnsKey = "freshet.columns"

// Logistic writes the model of a logistic regression over standardised columns:
// p = 1/(1+exp(-(bias + Σ weights·(x-mean)/scale))). The file has one input of
// float rows, outputs "label" and "probabilities", and the columns' names in its
// metadata; any ONNX runtime scores it. The same parameters give the same bytes.
func Logistic(mean, scale, weights []float64, bias float64, inputName string, columns []string) ([]byte, error) {
	n := len(weights)
	if n == 0 || len(mean) != n || len(scale) != n || len(columns) != n || inputName == "" {
		return nil, fmt.Errorf("%d weights, %d means, %d scales, %d columns and input %q do not make a model",
			n, len(mean), len(scale), len(columns), inputName)
	}
	inverse := make([]float64, n)
	both := make([]float64, 0, 2*n)
	for i, s := range scale {
		inverse[i] = 1 / s
		both = append(both, -weights[i])
	}
	both = append(both, weights...)
	for _, xs := range [][]float64{mean, inverse, both, {bias}} {
		for _, x := range xs {
			if f := float64(float32(x)); math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, fmt.Errorf("the parameter %v is no finite float32", x)
			}
		}
	}
	names, err := json.Marshal(columns)
	if err != nil {
		return nil, err
	}

	var graph []byte
	graph = message(graph, 1, node("Scaler", []string{inputName}, []string{"scaled"},
		floatsAttr("offset", mean), floatsAttr("scale", inverse)))
	graph = message(graph, 1, node("LinearClassifier", []string{"scaled"}, []string{"label", "probabilities"},
		intsAttr("classlabels_ints", 0, 1), floatsAttr("coefficients", both),
		floatsAttr("intercepts", []float64{-bias, bias}), intAttr("multi_class", 0), textAttr("post_transform", "LOGISTIC")))
	graph = text(graph, 2, "logistic_regression")
	graph = message(graph, 11, valueInfo(inputName, typeFloat, -1, n))
	graph = message(graph, 12, valueInfo("label", typeInt64, -1))
	graph = message(graph, 12, valueInfo("probabilities", typeFloat, -1, 2))

	var m []byte
	m = varint(m, 1, 8) // IR version 8
	m = text(m, 2, "freshet")
	m = message(m, 7, graph)
	m = message(m, 8, varint(text(nil, 1, ""), 2, 17))
	m = message(m, 8, varint(text(nil, 1, "ai.onnx.ml"), 2, 3))
	m = message(m, 14, text(text(nil, 1, columnsKey), 2, string(names)))
	return m, nil
}

func varint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func text(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func message(b []byte, num protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), m)
}

func node(op string, in, out []string, attrs ...[]byte) []byte {
	var n []byte
	for _, s := range in {
		n = text(n, 1, s)
	}
	for _, s := range out {
		n = text(n, 2, s)
	}
	n = text(n, 4, op)
	for _, a := range attrs {
		n = message(n, 5, a)
	}
	return text(n, 7, "ai.onnx.ml")
}

// Attribute types of AttributeProto.
const (
	attrInt    = 2
	attrString = 3
	attrFloats = 6
	attrInts   = 7
)

func floatsAttr(name string, xs []float64) []byte {
	var packed []byte
	for _, x := range xs {
		packed = protowire.AppendFixed32(packed, math.Float32bits(float32(x)))
	}
	return varint(message(text(nil, 1, name), 7, packed), 20, attrFloats)
}

func intsAttr(name string, xs ...uint64) []byte {
	a := text(nil, 1, name)
	for _, x := range xs {
		a = varint(a, 8, x)
	}
	return varint(a, 20, attrInts)
}

func intAttr(name string, x uint64) []byte {
	return varint(varint(text(nil, 1, name), 3, x), 20, attrInt)
}

func textAttr(name, s string) []byte {
	return varint(text(text(nil, 1, name), 4, s), 20, attrString)
}

// valueInfo describes a tensor; a negative dimension is one of any size.
func valueInfo(name string, elem uint64, dims ...int) []byte {
	var shape []byte
	for _, d := range dims {
		if d < 0 {
			shape = message(shape, 1, text(nil, 2, "rows"))
		} else {
			shape = message(shape, 1, varint(nil, 1, uint64(d)))
		}
	}
	tensorType := message(varint(nil, 1, elem), 2, shape)
	return message(text(nil, 1, name), 2, message(nil, 1, tensorType))
}

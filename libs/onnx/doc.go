// Package onnx reads and scores the ONNX graphs that linear models and their
// scalers make, and writes such a graph for a logistic regression.
//
// It is no general runtime: an operator it does not know makes Load fail with an
// UnsupportedOperatorError, never a wrong score later. A model is data from
// outside, so parsing is bounded (size, nodes, elements), every tensor's shape is
// checked against its data, and shapes are checked again at every operator; bad
// bytes give an error wrapping ErrMalformed, never a panic.
//
// Arithmetic is in float64, whatever the graph's types: scores agree with
// onnxruntime, which computes in float32, to about 1e-6.
//
// A Graph is immutable after Load and safe for concurrent use; scoring reuses its
// buffers, so a warm ScoreInto allocates nothing.
package onnx

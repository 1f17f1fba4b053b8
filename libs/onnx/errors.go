package onnx

import (
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every refusal of bytes that are not a valid model.
var ErrMalformed = errors.New("malformed ONNX model")

// ErrShape is wrapped when rows given to score, or tensors that meet inside the
// graph, do not fit.
var ErrShape = errors.New("shapes do not fit")

// An UnsupportedOperatorError names an operator, or a use of one, that this
// package does not score.
type UnsupportedOperatorError struct {
	Op     string // with its domain unless that is ai.onnx: "ai.onnx.ml.TreeEnsembleClassifier"
	Reason string // empty: the operator itself
}

func (e *UnsupportedOperatorError) Error() string {
	if e.Reason == "" {
		return "the ONNX operator " + e.Op + " is not supported"
	}
	return fmt.Sprintf("the ONNX operator %s is not supported here: %s", e.Op, e.Reason)
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func badShape(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrShape, fmt.Sprintf(format, args...))
}

//go:build !race

package onnx_test

const raceDetector = false

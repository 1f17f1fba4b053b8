// Package tiltcheck evaluates the repository's Tiltfile without Tilt and runs the
// commands that it declares, so that local development is tested where Tilt is
// not installed.
package tiltcheck

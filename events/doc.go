// Package events is Freshet's language: a Go type, a constructor and a
// validator for every event of the contracts, and the strict CloudEvents codec.
// Payload types and the table of types are generated from the contracts module;
// an event is validated when it is made and again when it is parsed.
package events

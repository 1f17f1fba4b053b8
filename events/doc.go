// Package events is Freshet's language: a Go type, a constructor and a
// validator for every event of the contracts, and the strict CloudEvents codec.
//
// Payload types and the table of types are generated from the contracts module;
// an event is validated when it is made and again when it is parsed.
//
// The codec is our own because the CloudEvents SDK's is lenient: it keeps the
// last of two equal keys, truncates numbers and ignores trailing bytes, so that
// two readers of the same bytes could see different events. Here one sequence of
// bytes means one event or is refused: with ErrMalformed, ErrTooLarge,
// ErrReserved or ErrUnsupported, and never with a panic. Codec is for the log;
// DecodeHTTP, DecodeNATS and DecodeKafka are for events from outside, which need
// none of Freshet's extensions.
package events

// Package web holds the HTTP conventions that every service shares: a mux that
// remembers what it serves, what queries ask for, lists, problem documents (RFC 9457),
// bounded bodies and server-sent events.
//
// It guarantees that no handler reads more than it asked for, that a panic in a
// handler answers 500 and leaves the process running, and that every request is
// counted and traced. Authentication is the listener's business, not the mux's.
package web

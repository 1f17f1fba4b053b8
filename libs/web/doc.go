// Package web holds the HTTP conventions that every service shares: declared routes with
// the role that each needs, a gate that knows who asks, what queries ask for, lists, problem documents (RFC 9457),
// bounded bodies and server-sent events.
//
// It guarantees that nobody reaches a handler without the role of its route, and that a
// route without a role lets nobody in; that no handler reads more than it asked for, that a panic in a
// handler answers 500 and leaves the process running, and that every request is
// counted and traced.
package web

// Package outbox records a service's facts and decisions, and carries them into the log.
//
// # What it guarantees
//
// What is submitted is recorded as a whole or not at all, under its natural key once, and
// numbered per service without gaps in the order it was committed. The relay appends it to
// the log in that order, once: a batch as a whole, and only where the service's last event
// there is the one before it. Nothing is recorded before the outbox was held against the
// log: Reconcile imports what a restored or lost database does not know, and learns how far
// was decided.
//
// # How it fails
//
// What is wrong with the database or the log is tried again, for ever, and is on the Board;
// a fact whose caller has gone is given up. A natural key with another payload is
// ErrConflict. An event in the log that is not the one in the outbox is an alarm: the relay
// stops, and nothing more is recorded. A counter behind the one that this process knows is
// ErrRolledBack: the outbox has to be reconciled again.
package outbox

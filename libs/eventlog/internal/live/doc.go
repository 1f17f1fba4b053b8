// Package live applies the log to a service's live tables, as it comes.
//
// # What it guarantees
//
// The effects of a batch of events on the tables, what was decided on them, what they
// opened and the position are one transaction. The position only moves from where it was
// read, so that of two processes one fails. A batch with an event at fault is applied event
// by event; that one is tried twice and then parked.
//
// # How it fails
//
// What is wrong with the infrastructure is tried again in place, for ever, and is on the
// Board; nothing is skipped meanwhile. Run ends where its context or its connection does,
// where another process moved the position (ErrPosition), where the database was rolled
// back, and on an alarm.
package live

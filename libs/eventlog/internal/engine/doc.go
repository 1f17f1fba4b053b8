// Package engine is the state machine of a service: how an event of the log changes
// its tables and what it decides. There is one way, Transaction.Step, which the live
// fold, a rebuild, a verification and a trial all take; a Mode says what differs.
//
// # What it guarantees
//
// The same events give the same tables, decisions, effects, timers and parked events,
// whatever the transactions were and whoever steps. Events are stepped over in the log's
// order with no number missing, in the log and per source. A handler sees the event and
// the tables only. A decision that was recorded is applied as it was recorded.
//
// It knows neither a broker nor the outbox: events are given to it, decisions are handed
// out (Transaction.Decisions), and what was decided before is asked for (Decisions).
//
// # How it fails
//
// A gap, or another event in the place of the next one, is an alarm, and nothing of the
// transaction counts. An event at fault is a Failure: the transaction is abandoned, and
// whoever steps may try the event by itself and then park it. Every other error is of the
// infrastructure: the same step may be tried again.
package engine

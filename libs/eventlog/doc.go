// Package eventlog is a service's part in the log: the one totally ordered
// stream of events that every service's state is a fold of.
//
// A service gives a Fold: its tables, what each event changes (apply), and what
// the service decides because of an event (decide). The package records facts,
// carries them into the log, applies everybody's events in the log's order,
// records what was decided, and executes the effects and timers that were opened.
//
// # Its rooms
//
// This package is what services call, and Log, the lifecycle of everything else:
//
//   - internal/engine is the state machine: how an event changes the tables and what is
//     decided on it, by the one way that all folds share, Transaction.Step.
//   - internal/live applies the log to the live tables as it comes; internal/replay folds it
//     again, to rebuild, verify or try (shadow fold).
//   - internal/source reads the log and its archive.
//   - internal/outbox records facts and decisions; its relay appends them to the log.
//   - internal/lead holds the session lease, by which one process of a service leads and
//     frozen ones are fenced, and the log session: the connection to one process of the log's
//     server, which audit has attested. The lead itself is taken in session.go, here.
//   - internal/effects schedules effects and fires timers.
//   - internal/stall is what a part waits for; internal/envelope ids, attributes and
//     subjects of events; internal/schema the tables; internal/sqlbatch merges statements.
//
// # What it guarantees
//
// Recording. When Record returns, its facts are in the outbox, committed: all of
// them or none. A natural key is recorded once; the same key and payload gets the
// first answer, another payload ErrConflict. Per service, events are numbered
// without gaps, in the order they were committed, whichever process recorded them.
//
// The log. What is in the outbox gets into the log, once and in its order, after
// any crash: a batch is appended as a whole, and only where the service's last
// event in the log is the one before it. What an earlier try left there counts as
// arrived only if it is, byte for byte, what the outbox holds.
//
// The fold. The effects of an event on the tables, the decisions it led to, the
// effects and timers it opened and the position are one transaction. The position
// only moves from where it was read, so that of two processes one fails. Events
// are applied in the log's order with no number missing, in the log and per
// source. The same log gives the same tables, whatever the batches were.
//
// A rebuild (another version of the fold, a first start on a long log, or because
// somebody asked) folds the log into a schema side by side with the live one, in large
// transactions, and swaps it in by one transaction. It applies what was decided
// then, at the positions where it was, and decides nothing again: what an event
// opened is a row until the swap, and starts after it. The older tables serve reads
// meanwhile. A service that starts for the first time on an old log records
// service_activated and decides nothing of the past.
//
// Verify folds in the same way and decides again, without recording: it holds every
// table against a snapshot of the live one at the same position, every decision
// against the recorded one, and those in the outbox against those in the log. What
// the log no longer holds both read from its archive.
//
// Effects and timers. A row stays open until the fact that ends it is applied; the
// first result recorded for it wins. An execution holds a lease with a fencing
// token; what a stopped or killed process left is taken up at once. Attempts,
// timeouts and pauses are the handler's to state.
//
// The log's epochs. A process of the log's server that comes back may have an older
// copy of the log. Everything that publishes or applies does it through a connection
// to one server process, and, with Attested, only after audit has found the log there
// to be the one that everybody applied; audit puts back what it lost, in the next
// epoch's stream, from what each service remembers: its outbox, and which event it
// applied at which sequence beyond the archive. A database that was rolled back learns its
// own events from the log and the archive before anything more is recorded, and from
// them how far was decided: what was is not decided again by a newer version.
//
// # How it fails
//
// While nobody attests, nothing is published or applied; facts are recorded all the
// same, once the outbox was compared with the log. Without Attested the position alone
// is compared: a log that ends before it, or has another event there, is an alarm.
//
// What is wrong with the infrastructure (connections, serialization, disk, memory,
// a statement that does not fit the tables) is tried again in place, for ever, and
// is seen in Status.Err. Nothing is skipped meanwhile; facts are still recorded
// while only the log is out of reach.
//
// Of several processes of a service one leads. A process that is frozen, or cut off
// while its connections stay open, keeps its sessions and whatever they lock, the lead
// for one; ten seconds after PostgreSQL last heard of it another process of the service
// fences it: it ends them all. One that continues finds that its session is gone, in a log where
// nothing happens within seconds, releases the lock, and follows; what it was about to commit
// or publish is refused.
//
// An event at fault (its handler panics or returns an error of its own, or its
// data is refused with SQLSTATE class 22, 23 or 54) is tried twice and then
// parked, by a decision, with a reason of one word. Later events of its subject or
// ripple wait behind it, in order; all others continue. event_retried and
// event_discarded, facts that name it, let them go; ResolveParked records them.
//
// A message that is no event of the service under whose subject it was published (no
// event at all, or another's) has no place in any order. Who applies or decides on what
// that subject carries parks it, under an id made of where it is and what it holds;
// everybody else passes it. The service itself numbers its events as if it were not there.
//
// A history that cannot be continued stops the relay or the processor for good,
// with an alarm in Status.Err: a gap in the log, an event in the log that is not
// the one in the outbox or not the one that was applied, a log shorter than the
// position. Continuing would lose or double events.
//
// A rebuild or verification that is killed leaves what is live as it was; who leads
// next drops what it left. An event that a new version cannot apply is parked by its
// rebuild, as if it came live; one that the very same version cannot apply again
// ends a rebuild that somebody asked for, and is a difference to a verification.
//
// # Tables
//
// The schema <service> holds the fold's tables and, named fold_…, the position,
// the sources' numbers, open effects, timers and parked events. The schema
// <service>_io holds what a rebuild must not touch: outbox, inbox, counter, how
// far was decided and by which version since when, and leases. Replays work in
// <service>_next, _old, _verify, _verify_rows, _trial_1 and _trial_2, which nobody else
// uses.
package eventlog

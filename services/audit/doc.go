// Package audit remembers: it copies the log, message by message and byte by byte, to
// Kafka, keeps an index of every event, and answers from both why something is so,
// what its effects are, and how everything stood at any point of the log.
//
// # State
//
// The index is a fold of the log: one row per event with its place; an edge from each
// event to those it depends on (its cause, its contributors, what its payload names); the
// event behind each name; and, for everything that has a state (models, versions,
// environments, rollouts, approvals, alerts, data, features), what held of it from one
// position of the log until another. Payloads stay in the log and are read from it by
// sequence, never through a possibly older replica, so that what is shown is what was
// recorded.
//
// The archive is the Kafka topic freshet.events, with one partition. Every record is
// one message of the log: its value the message's bytes, its key the namespace and
// the event's id, its headers natsstream, natsseq, epoch and digest.
//
// The Merkle tree is a file that is computed from the archive, and computed again where it
// is missing or damaged. The signing key is a file of its own: it cannot be computed.
//
// # Guarantees
//
//   - The archive holds the log's messages in their order, each with the same bytes.
//     The copy continues after the topic's own last record. That position is stored
//     nowhere else, so no two copies of it can disagree.
//
//   - One request is in flight. After any error the tail is read again before
//     anything is sent again. A broker may still store a request that it answered with
//     an error, after the tail was read; then sequences repeat. A reader drops every
//     record whose natsseq is not above the last one it took.
//
//   - The copy never skips. Where the log lacks a message, or its message at the
//     archive's end has another digest, gap_found is recorded, an alarm stands, and
//     copying waits until the log continues the archive again.
//
//   - One process of several copies and signs. Where two believe they do, for the
//     moment that the loss of a database session takes, sequences may repeat.
//
//   - A checkpoint is signed over the archive after so many events, or so long, where
//     anything but checkpoints came; it continues the one before it, or nothing is
//     signed. Its own event makes no other one due.
//
//   - A proof or a pack is checked before it is given.
//
// # The log guardian
//
// Audit attests the log to every service after each start of the log's server, opens
// the next epoch where that server lost events, and trims the log. See
// docs/architecture/decisions/0003-epochs-and-attestation.md and
// internal/log/guardian.
//
// # Packages
//
// Audit decides nothing and has no slow work, so it has no domain, decide or effect.
// It has one group of packages for each of its three tasks instead:
//
//	internal/log         the log itself
//	  guardian             attests the log, opens epochs, trims
//	  leaderlock           elects one process of several
//	  logread              reads messages of the log by sequence
//	  copier               copies the log to Kafka
//	internal/proof       what an auditor can check
//	  merkle               the tree over the archive, and signed checkpoints
//	  evidence             proofs and packs, with their routes
//	internal/past        questions about the past
//	  asof                 how everything stood at a position
//	  lineage              why something is so, and what followed from it
//	  picture              draws a graph of events
//	internal/state       the fold: the index, with all its SQL
//	internal/edge        the HTTP routes
//
// Packages of log and state use none of past and proof. Past uses both, proof uses all
// three, and edge answers from all of them.
//
// # When things fail
//
// While Kafka is unavailable, the log keeps everything and the number of messages that
// are not archived grows; audit is not ready, and the other services continue. When the
// process is killed, the next one reads the archive's last record and continues after
// it. Where the archive differs from what was signed, has a gap, or has a record that
// does not match its own digest, freshet_audit_altered is 1, and nothing is signed or
// proven until the archive is right again. An archive that lost its end is copied again
// from the log and compared with what was signed. A topic that cannot keep the log's
// order, or from which the broker would delete, is refused at the start, with the fix.
package audit

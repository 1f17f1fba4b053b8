// Package audit remembers. It copies the log, message by message and byte by byte, to
// Kafka, keeps an index of every event, and answers from both why something is so, what
// came of it, and how everything stood at any point of the log.
//
// # State
//
// The index is a fold of the log: one row per event with its place; an edge from each
// event to those it rests on (its cause, its contributors, what its payload names); the
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
// The Merkle tree is a file that follows from the archive and is made again where it is
// missing or damaged. The signing key is a file of its own, and follows from nothing.
//
// # Guarantees
//
//   - The archive holds the log's messages in their order, each with the same bytes.
//     The place to go on from is the topic's own last record: nothing else remembers
//     it, so nothing can disagree.
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
// # The log's keeper
//
// Audit attests the log to every service after each start of the log's server, opens
// the next epoch where that server lost events, and trims the log. See
// docs/architecture/decisions/0003-epochs-and-attestation.md and internal/keeper.
//
// # When things fail
//
// While Kafka is away the log keeps everything and the count of messages not yet
// archived grows; audit is not ready, and the rest of the suite goes on. Kill the
// process anywhere: the next one reads the tail and goes on. An archive that is not
// what was signed, or has a gap or a record that its own digest does not name, is told
// by freshet_audit_altered; nothing is signed or proven until it is. One that has less
// than it had is copied again from the log, and held against what was signed. A topic
// that could not keep the log's order, or of which the broker would delete, is refused
// at the start, with the fix.
package audit

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
// # Guarantees
//
//   - The archive holds the log's messages in their order, each with the same bytes.
//     The place to go on from is the topic's own last record: nothing else remembers
//     it, so nothing can disagree.
//   - One request is in flight. After any error the tail is read again before
//     anything is sent again. A broker may still store a request that it answered with
//     an error, after the tail was read; then sequences repeat. A reader drops every
//     record whose natsseq is not above the last one it took.
//   - The copy never skips. Where the log lacks a message, or its message at the
//     archive's end has another digest, gap_found is recorded, an alarm stands, and
//     copying waits until the log continues the archive again.
//
// # When things fail
//
// While Kafka is away the log keeps everything and the count of messages not yet
// archived grows; the rest of the suite goes on. Kill the process anywhere: the next
// one reads the tail and goes on.
package audit

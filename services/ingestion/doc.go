// Package ingestion decides which data and which code the suite accepts.
//
// Data: an outside event (over NATS, Kafka or HTTP) announces files of a dataset.
// Their bytes go to the object store, then data_arrived is recorded; an effect
// holds the rows against the dataset's spec and records data_checked; the fold
// decides data_committed, the dataset's next immutable version, or data_rejected.
//
//	outside event → data_arrived → (check) → data_checked → data_committed | data_rejected
//
// Code: a watched repository's branch moves, or a signed hook says so; an effect
// archives the revision and reads its definitions; the fold decides code_committed
// with a model_declared per model, or code_rejected with every mistake's place and
// fix.
//
//	head moved → code_pushed → (archive) → code_archived → code_committed + model_declared… | code_rejected
//
// Guarantees. An outside event is taken once, whichever way and however often it
// comes; another one with its identity is a conflict, never a second arrival. What
// cannot be taken is refused (HTTP) or quarantined (NATS, Kafka) with its reason
// and stands in nobody's way. Bytes are durable before an event names them.
// Arrivals of a dataset that are checked at the same time become commits in the
// order of the log, each on top of the last: a commit's digest follows from its
// parent, the files it adds and the spec, and its manifest lists only its own
// arrival, so nothing races. Definitions are read from a bare copy of the
// repository: nothing is checked out, no link followed, no hook run.
//
// When things fail. A file that cannot be read, or does not fit, is a rejection; a
// repository that cannot be reached is asked again, and a revision that cannot be
// fetched in twelve attempts, some minutes, is rejected as fetch_failed. Broken
// machinery makes effects and readers try again; their positions move only with
// what they did.
package ingestion

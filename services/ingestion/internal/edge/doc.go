// Package edge holds ingestion's ways in: CloudEvents over HTTP, NATS and Kafka,
// files, Git hooks and the watch over repositories, and what people ask.
//
// An edge checks, puts bytes into the object store, and records a fact; it writes
// no state. What comes over NATS and Kafka and cannot be taken is quarantined
// with its reason, counted, and never stands in the way of what follows. An
// outside event is taken once, however often and by whichever way it comes: its
// key is (source, id, type). The same key with other content is a conflict.
package edge

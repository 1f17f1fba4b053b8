// Package suite runs Freshet on one machine: PostgreSQL, the log's server and
// Kafka, then the services, and one listener before them all.
//
// It guarantees: one process per data directory; nothing listens beyond loopback;
// the listener answers from the start, 503 until everything is ready; a stop in
// reverse order, each stage within its budget; and, after a kill at any moment, a
// start that continues where the log stands. It fails to start with one error that
// says what is missing or in the way.
package suite

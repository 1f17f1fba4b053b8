// Package demo runs the main job on real flights: a driven clock carries the
// suite through January 2001 while a producer publishes what became known, an
// application asks the model about every flight before it leaves, a data
// scientist commits a change and a person approves. Everything else happens by
// itself. The demo uses only what any user has: the suite's HTTP APIs, NATS,
// Kafka, Git, and the log, which it reads to report what happens.
package demo

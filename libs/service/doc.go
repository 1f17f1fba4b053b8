// Package service runs one service: it reads its configuration, connects it to
// the log, PostgreSQL, Kafka and the objects, starts its module in an fx.App of
// its own, answers for its health, and stops it in order and in time.
//
// It guarantees that a service's tables are migrated and its log is live before
// its loops and its listener start; that a failing loop is restarted and a
// failing service, or one whose own checks find something, says so at /readyz;
// and that stopping takes at most the sum of the stages' budgets, whatever
// hangs. It fails to start, with one message that names every cause, when
// configuration or what it needs is missing.
package service

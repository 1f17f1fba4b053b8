// Package testkit gives tests the real parts: PostgreSQL, the log's server and
// Kafka, each isolated from every other test and gone when the test ends, and a
// runner for one service's module with everything real.
//
// One PostgreSQL server serves all test processes of a machine that run at the
// same time; each test has a database of its own. NATS and Kafka are embedded,
// one of each per test. On Linux, for root, there are disks that can be filled.
package testkit

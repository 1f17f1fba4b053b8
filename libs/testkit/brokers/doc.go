// Package brokers gives tests a Kafka to inject faults into: the one that is embedded in
// a suite, and Apache Kafka itself, both behind a proxy that loses answers. What is
// claimed of Kafka is tested on both.
//
// Where Java, Maven or the network is missing the tests on Apache Kafka are skipped with
// the reason, or fail where FRESHET_TEST_KAFKA is "required", as continuous integration
// sets it.
package brokers

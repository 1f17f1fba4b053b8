// Package brokers gives tests a Kafka that they can hurt: the one that is embedded in
// a suite, and Apache Kafka itself, both behind a proxy that loses answers. What is
// claimed of Kafka is tested on both.
//
// Apache Kafka is fetched from Maven Central by Maven, once per machine, into the
// user's cache directory, and runs as one process in KRaft mode. It needs Java 17 or
// later. Where Java, Maven or the network is missing its tests are skipped with the
// reason, or fail where FRESHET_TEST_KAFKA is "required", as continuous integration
// sets it.
package brokers

// Package apachekafka runs Apache Kafka itself: one process in KRaft mode, broker and
// controller, whose data survives it.
//
// It is fetched from Maven Central by Maven, once per machine, into the user's cache
// directory, and needs Java 17 or later.
package apachekafka

// Package kafka is a Kafka client for volume topics and the archive, on
// segmentio/kafka-go's Client. Its loops are its own, because the library's
// Writer and Reader acknowledge too little and skip silently.
//
// It guarantees: Produce returns nil only after every record was stored with all
// in-sync replicas' acknowledgement; records of one call keep their order within
// a partition, and one process has one request per partition in flight; a key
// always meets the same partition (murmur2, as Kafka's own clients choose).
// Consume delivers every partition in order from where the caller left off, and
// fails with ErrOffsetLost where the broker no longer has it, instead of
// skipping. A record may be produced twice when the broker's answer was lost:
// consumers drop what they know. A question whose connection was broken is asked
// again. Nothing depends on Kafka's transactions.
package kafka

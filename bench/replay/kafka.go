package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	kgo "github.com/segmentio/kafka-go"
)

const topic = "bench.log"

// fillTopic copies the log's first n events into a topic of one partition, as the
// archive has them.
func fillTopic(ctx context.Context, broker, natsURL string, n int) error {
	c := kafka.New(broker)
	defer c.Close()
	if err := c.Ensure(ctx, topic, 1); err != nil {
		return err
	}
	var records []kafka.Record
	flush := func() error {
		err := c.Produce(ctx, topic, records...)
		records = records[:0]
		return err
	}
	err := consume(ctx, natsURL, n, func(data []byte) error {
		if records = append(records, kafka.Record{Value: data}); len(records) < 1000 {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// fetch calls fn with the topic's first n records, as kafka-go's reader has them.
func fetch(ctx context.Context, broker string, n int, fn func(data []byte) error) (err error) {
	r := kgo.NewReader(kgo.ReaderConfig{Brokers: []string{broker}, Topic: topic, Partition: 0,
		MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 100 * time.Millisecond, QueueCapacity: 8192})
	defer func() { err = errors.Join(err, r.Close()) }()
	for i := range n {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return err
		}
		if m.Offset != int64(i) {
			return fmt.Errorf("record %d has offset %d", i, m.Offset)
		}
		if err := fn(m.Value); err != nil {
			return err
		}
	}
	return nil
}

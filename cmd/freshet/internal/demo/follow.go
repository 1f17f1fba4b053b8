package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// follow reads the log from its first event until ctx ends, as any auditor may: what
// the log no longer has, from its archive.
func follow(ctx context.Context, nc *nats.Conn, kafkaAddr string, s *story) error {
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	read := func(data []byte, at time.Time) error {
		e, err := events.Codec{}.Decode(data)
		if err != nil {
			return err
		}
		return s.read(e, at)
	}
	name, err := epoch.Current(ctx, js)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	if first := stream.CachedInfo().State.FirstSeq; first > 1 {
		client := kafka.New(kafkaAddr)
		defer client.Close()
		err := archive.New(client).Read(ctx, 1, first-1, func(batch []archive.Record) error {
			for _, r := range batch {
				if err := read(r.Data, r.Time); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
	}
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for {
		msg, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if err := read(msg.Data(), meta.Timestamp); err != nil {
			return err
		}
	}
}

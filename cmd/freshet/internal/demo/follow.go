package demo

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-io/freshet/events"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// follow reads the log from its first event until ctx ends, as any auditor may.
func follow(ctx context.Context, nc *nats.Conn, stream string, s *story) error {
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
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
		e, err := events.Codec{}.Decode(msg.Data())
		if err != nil {
			return err
		}
		if err := s.read(e, meta.Timestamp); err != nil {
			return err
		}
	}
}

package demo

import (
	"context"
	"fmt"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
)

// follow reads the log's archive from its first event until ctx ends, as any auditor
// may: whatever becomes of the log's server, that continues.
func follow(ctx context.Context, kafkaAddr string, s *observer) error {
	client := kafka.New(kafkaAddr)
	defer client.Close()
	err := archive.New(client).Follow(ctx, func(batch []archive.Record) error {
		for _, r := range batch {
			e, err := events.Codec{}.Decode(r.Data)
			if err != nil {
				return err
			}
			if err := s.read(e, r.Time); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	return nil
}

package ingestion

import (
	"context"

	"github.com/freshet-io/freshet/services/ingestion/internal/edge"
	"github.com/nats-io/nats.go/jetstream"
)

// The streams of what outside producers publish, and of nothing, which the first one needs.
const (
	InStream = edge.InStream
	NoStream = edge.NoStream
)

// EnsureStream makes the stream of what outside producers publish, with room for so many
// bytes, or changes the one that is there so that it keeps every message.
func EnsureStream(ctx context.Context, js jetstream.JetStream, maxBytes int64) error {
	return edge.EnsureStream(ctx, js, maxBytes)
}

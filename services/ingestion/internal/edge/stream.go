package edge

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// InStream holds what outside producers publish to freshet-in.<namespace>.<anything>.
const InStream = "FRESHET_IN"

// NoStream is empty for ever. JetStream keeps only one of two messages with the same
// Nats-Msg-Id, also where two producers chose it that know nothing of each other, and acknowledges
// the other one all the same. A window of no time cannot be asked for; a stream that has
// a source is made without one.
const NoStream = "FRESHET_IN_SOURCE"

// streamConfig of the stream of at most so many bytes.
func streamConfig(maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: InStream, Subjects: []string{"freshet-in.>"}, Sources: []*jetstream.StreamSource{{Name: NoStream}},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxAge: 7 * 24 * time.Hour, MaxBytes: maxBytes,
		MaxMsgSize:  128 << 10, // a server takes no stream that may outgrow it
		Description: "what outside producers publish; ingestion validates and records it",
	}
}

// makeSource makes the stream without which InStream removes duplicates.
func makeSource(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: NoStream, Subjects: []string{"freshet-in-source"}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, MaxBytes: 1,
		Description: "nothing; that " + InStream + " has a source keeps it from removing messages by their Nats-Msg-Id",
	})
	return err
}

// EnsureStream makes the stream of at most so many bytes, or changes the one that is
// there. It needs a user who may do both.
func EnsureStream(ctx context.Context, js jetstream.JetStream, maxBytes int64) error {
	if err := makeSource(ctx, js); err != nil {
		return err
	}
	_, err := js.CreateOrUpdateStream(ctx, streamConfig(maxBytes))
	return err
}

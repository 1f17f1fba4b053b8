package source

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of a message of the log.
const (
	HeaderID       = "Freshet-Id"
	HeaderSequence = "Freshet-Sequence"
)

// StreamConfig is how a stream of the log is made.
func StreamConfig(name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               name,
		Description:        "Freshet's log",
		Subjects:           []string{envelope.SubjectRoot + ".>"},
		Retention:          jetstream.LimitsPolicy,
		Storage:            jetstream.FileStorage,
		Discard:            jetstream.DiscardNew,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxAge:             0,
		MaxMsgsPerSubject:  -1,
		AllowDirect:        true,
		AllowAtomicPublish: true,
	}
}

// Message is an event as the log carries it, without what its publisher expects.
func Message(e event.Event, data []byte) (*nats.Msg, error) {
	subject, err := envelope.Subject(e)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		HeaderID: {e.ID()}, HeaderSequence: {strconv.FormatUint(envelope.Sequence(e), 10)},
	}}, nil
}

// EnsureStream creates the log's stream, FRESHET_<epoch>, unless it is there, and
// refuses one that does not keep the log's promises.
func EnsureStream(ctx context.Context, nc *nats.Conn, stream string) error {
	if attest.Number(stream) == 0 {
		return fmt.Errorf("the log's stream %q is not named %s<epoch>", stream, attest.Prefix)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	s, err := js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, StreamConfig(stream))
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	cfg := s.CachedInfo().Config
	if !cfg.AllowAtomicPublish || cfg.Storage != jetstream.FileStorage || cfg.Retention != jetstream.LimitsPolicy || cfg.MaxAge != 0 ||
		cfg.Discard != jetstream.DiscardNew || cfg.MaxMsgs > 0 || cfg.MaxMsgsPerSubject > 0 {
		return fmt.Errorf("stream %s is not a log: it needs file storage, atomic publish, limits retention, discard of new messages, "+
			"and no limit of age or number", stream)
	}
	return nil
}

// A Stored message of the log.
type Stored struct {
	Stream   uint64 // sequence in the log
	Sequence uint64 // of its source
	Subject  string
	Data     []byte
}

const readTimeout = 10 * time.Second // of one message of the log

// LastOwn reads the service's last event in the log.
func (s *Source) LastOwn(ctx context.Context, k *lead.LogSession) (Stored, error) {
	return s.readMessage(ctx, k, func(ctx context.Context) (attest.Message, error) {
		return attest.Last(ctx, k.Conn, k.Stream, envelope.OwnSubjects(s.engine.Service()))
	})
}

// MessageAt reads the event at a sequence.
func (s *Source) MessageAt(ctx context.Context, k *lead.LogSession, sequence uint64) (Stored, error) {
	return s.readMessage(ctx, k, func(ctx context.Context) (attest.Message, error) {
		return attest.At(ctx, k.Conn, k.Stream, sequence)
	})
}

func (s *Source) readMessage(ctx context.Context, k *lead.LogSession, read func(context.Context) (attest.Message, error)) (Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if k.Gone() {
		return Stored{}, lead.ErrUnavailable
	}
	m, err := read(ctx)
	if err != nil {
		return Stored{}, fmt.Errorf("read the log: %w", err)
	}
	e, err := s.engine.Codec.Decode(m.Data)
	if err != nil {
		return Stored{}, fmt.Errorf("message %d of the log: %w", m.Sequence, err)
	}
	return Stored{Stream: m.Sequence, Sequence: envelope.Sequence(e), Subject: m.Subject, Data: m.Data}, nil
}

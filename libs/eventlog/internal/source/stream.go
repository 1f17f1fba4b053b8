package source

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
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

// A Stored event of the log.
type Stored struct {
	Stream   uint64 // sequence in the log
	Sequence uint64 // of its source
	Data     []byte

	// End is the sequence in the log of the last message under the service's subjects:
	// the event's, unless messages that are no events follow it.
	End uint64
}

const readTimeout = 10 * time.Second // of one message of the log

// LastOwn reads the service's last event in the log. Where the log has none, the error
// is attest.ErrNoMessage.
func (s *Source) LastOwn(ctx context.Context, k *lead.LogSession) (Stored, error) {
	own := envelope.OwnSubjects(s.engine.Service())
	last, err := s.readMessage(ctx, k, func(ctx context.Context) (attest.Message, error) { return attest.Last(ctx, k.Conn, k.Stream, own) })
	first, at, boundsErr := k.Bounds(ctx)
	switch {
	case boundsErr != nil:
		return Stored{}, boundsErr
	case err == nil:
		at = last.Sequence
	case errors.Is(err, attest.ErrNoMessage):
		if some, countErr := k.Has(ctx, own); countErr != nil || !some {
			return Stored{}, errors.Join(err, countErr)
		} // it is damaged
	default:
		return Stored{}, err
	}
	end := uint64(0)
	for ; at >= first && at > 0; at-- {
		v, err := s.eventAt(ctx, k, at)
		if err != nil {
			return Stored{}, err
		}
		if !v.Own {
			continue
		}
		end = max(end, at)
		v.Decode(s.engine.Codec)
		switch {
		case v.Foreign(): // somebody else published it
		case v.Err != nil:
			return Stored{}, fmt.Errorf("message %d of the log: %w", at, v.Err)
		default:
			return Stored{Stream: at, Sequence: v.Sequence, Data: v.Data, End: end}, nil
		}
	}
	return Stored{End: end}, fmt.Errorf("read the log: %w: of %s", attest.ErrNoMessage, s.engine.Service())
}

// eventAt reads the message at a sequence that the stream should have, from the archive
// where the stream's store is damaged there.
func (s *Source) eventAt(ctx context.Context, k *lead.LogSession, at uint64) (*engine.Event, error) {
	m, err := s.MessageAt(ctx, k, at)
	if err == nil {
		return s.Message(m.Sequence, m.Subject, m.Header, m.Data), nil
	}
	if !errors.Is(err, attest.ErrNoMessage) {
		return nil, err
	}
	var v *engine.Event
	next, archiveErr := s.Archived(ctx, at, at, func(c Chunk) error {
		v = c[0]
		s.engine.Open(v)
		return nil
	})
	return v, s.damaged(next, at, archiveErr)
}

// MessageAt reads the message at a sequence.
func (s *Source) MessageAt(ctx context.Context, k *lead.LogSession, sequence uint64) (attest.Message, error) {
	return s.readMessage(ctx, k, func(ctx context.Context) (attest.Message, error) {
		return attest.At(ctx, k.Conn, k.Stream, sequence)
	})
}

func (s *Source) readMessage(ctx context.Context, k *lead.LogSession, read func(context.Context) (attest.Message, error)) (attest.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if k.Gone() {
		return attest.Message{}, lead.ErrUnavailable
	}
	m, err := read(ctx)
	if err != nil {
		return attest.Message{}, fmt.Errorf("read the log: %w", err)
	}
	return m, nil
}

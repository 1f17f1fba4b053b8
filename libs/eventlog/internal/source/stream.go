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
	subjects := envelope.OwnSubjects(s.engine.Service())
	m, err := s.readMessage(ctx, k, func(ctx context.Context) (attest.Message, error) { return attest.Last(ctx, k.Conn, k.Stream, subjects) })
	if err == nil {
		if e, found, err := s.own(s.message(m), m.Sequence); found || err != nil {
			return e, err
		}
	} else if !errors.Is(err, attest.ErrNoMessage) {
		return Stored{}, err
	} else if some, countErr := k.Has(ctx, subjects); countErr != nil || !some {
		return Stored{}, errors.Join(err, countErr)
	}
	// The last message is somebody else's, or it is damaged.
	first, last, err := k.Bounds(ctx)
	if err != nil {
		return Stored{}, err
	}
	end, at := m.Sequence, last
	if end > 0 {
		at = end - 1
	}
	for ; at >= first && at > 0; at-- {
		v, err := s.eventAt(ctx, k, at)
		if err != nil {
			return Stored{}, err
		}
		if v.Own {
			end = max(end, at)
		}
		if e, found, err := s.own(v, end); found || err != nil {
			return e, err
		}
	}
	return Stored{End: end}, fmt.Errorf("read the log: %w: of %s", attest.ErrNoMessage, s.engine.Service())
}

// own is an event that the service recorded; found says whether it is one.
func (s *Source) own(v *engine.Event, end uint64) (e Stored, found bool, err error) {
	if !v.Own {
		return Stored{}, false, nil
	}
	v.Decode(s.engine.Codec)
	switch {
	case v.Foreign(): // somebody else published it
		return Stored{}, false, nil
	case v.Err != nil:
		return Stored{}, false, fmt.Errorf("message %d of the log: %w", v.Stream, v.Err)
	}
	return Stored{Stream: v.Stream, Sequence: v.Sequence, Data: v.Data, End: end}, true, nil
}

func (s *Source) message(m attest.Message) *engine.Event {
	return s.Message(m.Sequence, m.Subject, m.Header, m.Data)
}

// eventAt reads the message at a sequence that the stream should have, from the archive
// where the stream's store is damaged there.
func (s *Source) eventAt(ctx context.Context, k *lead.LogSession, at uint64) (v *engine.Event, err error) {
	m, err := s.MessageAt(ctx, k, at)
	if err == nil {
		return s.message(m), nil
	}
	if !errors.Is(err, attest.ErrNoMessage) {
		return nil, err
	}
	_, err = s.lacking(ctx, k, at, at, func(c Chunk) error {
		v = c[0]
		s.engine.Open(v)
		return nil
	})
	return v, err
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

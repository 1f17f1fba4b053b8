package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// StreamConfig is how a stream of the log is made.
func StreamConfig(name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               name,
		Description:        "Freshet's log",
		Subjects:           []string{subjectRoot + ".>"},
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
	subject, err := Subject(e)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		headerID: {e.ID()}, headerSequence: {strconv.FormatUint(Sequence(e), 10)},
	}}, nil
}

// EnsureStream creates the log's stream, FRESHET_<epoch>, unless it is there, and
// refuses one that does not keep the log's promises.
func EnsureStream(ctx context.Context, nc *nats.Conn, stream string) error {
	if epoch.Number(stream) == 0 {
		return fmt.Errorf("the log's stream %q is not named %s<epoch>", stream, epoch.Prefix)
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
		return fmt.Errorf("stream %s is not a log: it needs file storage, atomic publish, limits retention, discard of new messages, and no limit of age or number", stream)
	}
	return nil
}

// A stored message of the log.
type stored struct {
	stream   uint64 // sequence in the log
	sequence uint64 // of its source
	subject  string
	data     []byte
}

const readTimeout = 10 * time.Second // of one message of the log

// lastOwn reads the service's last event in the log.
func (l *Log) lastOwn(ctx context.Context, k *link) (stored, error) {
	return l.readMessage(ctx, k, func(ctx context.Context) (epoch.Message, error) {
		return epoch.Last(ctx, k.nc, k.stream, ownSubjects(l.service))
	})
}

func (l *Log) messageAt(ctx context.Context, k *link, sequence uint64) (stored, error) {
	return l.readMessage(ctx, k, func(ctx context.Context) (epoch.Message, error) {
		return epoch.At(ctx, k.nc, k.stream, sequence)
	})
}

func (l *Log) readMessage(ctx context.Context, k *link, read func(context.Context) (epoch.Message, error)) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if k.gone() {
		return stored{}, errAway
	}
	m, err := read(ctx)
	if err != nil {
		return stored{}, fmt.Errorf("read the log: %w", err)
	}
	e, err := l.codec.Decode(m.Data)
	if err != nil {
		return stored{}, fmt.Errorf("message %d of the log: %w", m.Sequence, err)
	}
	return stored{stream: m.Sequence, sequence: Sequence(e), subject: m.Subject, data: m.Data}, nil
}

// bounds are the first and last sequence of the log.
func (k *link) bounds(ctx context.Context) (first, last uint64, err error) {
	info, err := k.info(ctx)
	if err != nil {
		return 0, 0, err
	}
	return info.State.FirstSeq, info.State.LastSeq, nil
}

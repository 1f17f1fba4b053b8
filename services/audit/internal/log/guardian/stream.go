package guardian

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A stream of the log, of one epoch.
type stream struct {
	name        string
	number      int
	first, last uint64
	created     time.Time
	retired     bool
	torn        bool // the server counts messages after last, and has none of them
	subjects    []string
}

// A message of the log.
type message struct {
	sequence uint64
	data     []byte
	stored   time.Time
}

func digestOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// streams are the log's, by epoch.
func streams(ctx context.Context, js jetstream.JetStream) ([]*stream, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var out []*stream
	list := js.ListStreams(ctx)
	for info := range list.Info() {
		number := attest.Number(info.Config.Name)
		if number == 0 {
			continue
		}
		out = append(out, &stream{
			name: info.Config.Name, number: number, first: info.State.FirstSeq, last: info.State.LastSeq, created: info.Created,
			retired: slices.Equal(info.Config.Subjects, retiredSubjects(number)), subjects: info.Config.Subjects,
		})
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("the streams of the log's server: %w", err)
	}
	for _, s := range out {
		if s.first == 0 {
			s.first = s.last + 1
		}
	}
	slices.SortFunc(out, func(a, b *stream) int { return a.number - b.number })
	return out, nil
}

func retiredSubjects(number int) []string {
	return []string{fmt.Sprintf("%s.%d.>", attest.Retired, number)}
}

// get reads the message at a sequence, from the stream's leader.
func (s *stream) get(ctx context.Context, nc *nats.Conn, sequence uint64) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := attest.At(ctx, nc, s.name, sequence)
	return message{m.Sequence, m.Data, m.Time}, err
}

// end finds the last message that is there. A block of the store that was torn loses its
// last ones, and the server continues to count after them: what it would add next would
// follow a hole.
func (s *stream) end(ctx context.Context, nc *nats.Conn) error {
	for ; s.last >= s.first; s.last-- {
		_, err := s.get(ctx, nc, s.last)
		if !errors.Is(err, attest.ErrNoMessage) {
			return err
		}
		s.torn = true
	}
	return nil
}

// read calls fn with the messages from a sequence to another, as far as there are. A
// consumer may fall silent without an error: everything is there, so who waits for long
// waits for nothing, and everybody waits for the attestation.
func (s *stream) read(ctx context.Context, js jetstream.JetStream, from, to uint64, fn func(message) error) error {
	to = min(to, s.last)
	if from = max(from, s.first); from > to {
		return nil
	}
	consumer, err := js.OrderedConsumer(ctx, s.name, attest.ReadFrom(from))
	if err != nil {
		return fmt.Errorf("%s from %d: %w", s.name, from, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1000))
	if err != nil {
		return fmt.Errorf("%s from %d: %w", s.name, from, err)
	}
	defer messages.Stop()
	for next := from; next <= to; next++ {
		soon, cancel := context.WithTimeout(ctx, askTimeout)
		m, err := messages.Next(jetstream.NextContext(soon))
		cancel()
		if err != nil {
			return fmt.Errorf("%s at %d: %w", s.name, next, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Stream != next {
			return fmt.Errorf("%s at event %d: %w", s.name, next, attest.ErrNoMessage)
		}
		if err := fn(message{next, m.Data(), meta.Timestamp}); err != nil {
			return err
		}
	}
	return nil
}

// create makes an epoch's stream: its first message will have the sequence after
// the given one.
func (r *round) create(ctx context.Context, name string, after uint64) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	config := eventlog.StreamConfig(name)
	if after > 0 {
		config.FirstSeq = after + 1
	}
	_, err := r.js.CreateStream(ctx, config)
	if err != nil {
		return fmt.Errorf("creating stream %s: %w", name, err)
	}
	return nil
}

// retire takes a stream's subjects away, so that nothing more is added to it.
func (r *round) retire(ctx context.Context, s *stream) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	old, err := r.js.Stream(ctx, s.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("retiring stream %s: %w", s.name, err)
	}
	config := old.CachedInfo().Config
	config.Subjects = retiredSubjects(s.number)
	if _, err := r.js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("retiring stream %s: %w", s.name, err)
	}
	return nil
}

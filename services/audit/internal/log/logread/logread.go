// Package logread reads messages of the log by their sequence, or in order from one.
//
// # Guarantees
//
// A message is read from the stream's leader, never from a replica that may be behind.
// What lies before the stream's first message, because the log was trimmed or a newer
// epoch begins later, is read from the archive.
//
// # How it fails
//
// ErrMissing: neither the log nor the archive has the message. Any other error: one of
// them did not answer, and the read may be repeated.
package logread

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrMissing: the log has no message at the sequence, nor has its archive, where there is
// one. An archive that cannot be asked now is another error.
var ErrMissing = errors.New("the log has no message at this sequence")

// A Message is one message of the log.
type Message struct {
	Sequence uint64
	Subject  string // empty of an event that was read from the archive
	Data     []byte
	Stored   time.Time // by the server's clock
}

// Foreign says whether the message is no event of the service under whose subject it was
// published.
func (m Message) Foreign() bool { return archive.Foreign(m.Subject, m.Data) }

// Reader reads the log, whichever stream that is.
type Reader struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	stream  func() string
	archive *archive.Reader // nil where there is none
}

// New returns a reader of the stream that is the log's at each time, and of what
// lies before it.
func New(nc *nats.Conn, stream func() string, before *archive.Reader) (*Reader, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("log reader: %w", err)
	}
	return &Reader{nc: nc, js: js, stream: stream, archive: before}, nil
}

// Archived tells whether what the stream no longer has is read from the archive.
func (r *Reader) Archived() bool { return r.archive != nil }

// Stream is the stream's name.
func (r *Reader) Stream() string { return r.stream() }

// Bounds are the first and last sequence; last is 0 for an empty log.
func (r *Reader) Bounds(ctx context.Context) (first, last uint64, err error) {
	stream := r.stream()
	s, err := r.js.Stream(ctx, stream)
	if err != nil {
		return 0, 0, fmt.Errorf("log %s: %w", stream, err)
	}
	state := s.CachedInfo().State
	return state.FirstSeq, state.LastSeq, nil
}

// Get returns the message at a sequence. It asks the leader even where the stream
// allows any replica to answer.
func (r *Reader) Get(ctx context.Context, sequence uint64) (Message, error) {
	m, err := r.get(ctx, sequence)
	if !errors.Is(err, ErrMissing) || r.archive == nil {
		return m, err
	}
	// Trimmed, or damaged in the stream's store.
	one, err := r.archive.Get(ctx, sequence)
	switch {
	case errors.Is(err, archive.ErrMissing):
		return Message{}, fmt.Errorf("%w: at %d: %w", ErrMissing, sequence, err)
	case err != nil: // it is unknown
		return Message{}, fmt.Errorf("log at %d: %w", sequence, err)
	}
	return archived(one), nil
}

// archived is a message as the archive has it.
func archived(r archive.Record) Message {
	return Message{Sequence: r.Sequence, Subject: r.Subject(), Data: r.Data, Stored: r.Time}
}

func (r *Reader) get(ctx context.Context, sequence uint64) (Message, error) {
	stream := r.stream()
	m, err := attest.At(ctx, r.nc, stream, sequence)
	if errors.Is(err, attest.ErrNoMessage) {
		return Message{}, fmt.Errorf("%w: %s at %d", ErrMissing, stream, sequence)
	}
	if err != nil {
		return Message{}, fmt.Errorf("log: %w", err)
	}
	return Message{Sequence: m.Sequence, Subject: m.Subject, Data: m.Data, Stored: m.Time}, nil
}

// errFound ends a search.
var errFound = errors.New("found")

// Find returns the event with an id, at a sequence or, for a decision that is indexed
// where its cause is, after it.
func (r *Reader) Find(ctx context.Context, sequence uint64, id string) (Message, error) {
	m, err := r.Get(ctx, sequence)
	if err != nil || idOf(m) == id {
		return m, err
	}
	_, last, err := r.Bounds(ctx)
	if err != nil {
		return Message{}, err
	}
	err = r.Run(ctx, sequence+1, prefetch, func(batch []Message) error {
		for _, m = range batch {
			if idOf(m) == id {
				return errFound
			}
			if m.Sequence >= last {
				return fmt.Errorf("%w: %s from %d on, event %s", ErrMissing, r.stream(), sequence, id)
			}
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return m, nil
	}
	return Message{}, err
}

func idOf(m Message) string {
	var e struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return ""
	}
	return e.ID
}

// prefetch is how many messages are asked for at once.
const prefetch = 1000

// Run calls fn for every message from a sequence on, in order, until fn or the
// context ends it. Batches are what the server had ready: fn gets at least one
// message and at most limit. What the stream lacks is read from the archive; a gap that
// is left is fn's to find: sequences only ever grow.
func (r *Reader) Run(ctx context.Context, from uint64, limit int, fn func([]Message) error) error {
	stream := r.stream()
	from, err := r.before(ctx, max(from, 1), limit, fn)
	if err != nil {
		return err
	}
	consumer, err := r.js.OrderedConsumer(ctx, stream, attest.ReadFrom(from))
	if err != nil {
		return fmt.Errorf("log %s from %d: %w", stream, from, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(prefetch))
	if err != nil {
		return fmt.Errorf("log %s from %d: %w", stream, from, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ready, ended := make(chan Message, prefetch), make(chan error, 1)
	var read atomic.Uint64
	read.Store(from - 1)
	go func() { ended <- r.pull(ctx, messages, &read, ready) }()
	go attest.Watch(ctx, cancel, func(ctx context.Context) (uint64, uint64, error) {
		at := read.Load()
		_, last, err := r.Bounds(ctx)
		if len(ready) > 0 { // it is fn that is waited for
			at = last
		}
		return at, last, err
	})
	defer func() {
		cancel(nil)
		messages.Stop()
	}()
	for {
		var batch []Message
		select {
		case m := <-ready:
			batch = append(batch, m)
		case err := <-ended:
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("log %s: %w", stream, err)
		case <-ctx.Done():
			return fmt.Errorf("log %s: %w", stream, context.Cause(ctx))
		}
	fill:
		for len(batch) < limit {
			select {
			case m := <-ready:
				batch = append(batch, m)
			default:
				break fill
			}
		}
		if err := fn(batch); err != nil {
			return err
		}
	}
}

// before runs through what lies before the stream's first message, which moves on
// where the log is trimmed meanwhile, and returns what comes next.
func (r *Reader) before(ctx context.Context, from uint64, limit int, fn func([]Message) error) (uint64, error) {
	for {
		first, _, err := r.Bounds(ctx)
		if err != nil || from >= first || r.archive == nil {
			return from, err
		}
		err = r.archive.Read(ctx, from, first-1, func(batch []archive.Record) error {
			for part := range slices.Chunk(batch, limit) {
				messages := make([]Message, len(part))
				for i, one := range part {
					messages[i] = archived(one)
				}
				if err := fn(messages); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return from, err
		}
		from = first
	}
}

// pull sends what the stream has to ready. What is damaged in its store, it skips
// without a word: the archive may have that.
func (r *Reader) pull(ctx context.Context, messages jetstream.MessagesContext, read *atomic.Uint64, ready chan<- Message) error {
	send := func(m Message) error {
		read.Store(m.Sequence)
		select {
		case ready <- m:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if next := read.Load() + 1; meta.Sequence.Stream > next && r.archive != nil {
			err := r.archive.Read(ctx, next, meta.Sequence.Stream-1, func(batch []archive.Record) error {
				for _, one := range batch {
					if err := send(archived(one)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil && !errors.Is(err, archive.ErrMissing) {
				return err
			}
		}
		if err := send(Message{Sequence: meta.Sequence.Stream, Subject: m.Subject(), Data: m.Data(), Stored: meta.Timestamp}); err != nil {
			return err
		}
	}
}

package source

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ReadAhead is how many events of the log wait for the processor at most.
const ReadAhead = 1024

// Follow delivers the log from a sequence on, in order and without a filter, until
// the context ends. It recovers from whatever happens to the consumer; that the
// sequence has no gap is for the processor to check.
func (s *Source) Follow(ctx context.Context, k *lead.LogSession, from uint64, out chan<- *engine.Event) {
	next := from
	for try := 0; ctx.Err() == nil; try++ {
		before := next
		err := s.readOnce(ctx, k, &next, out)
		if ctx.Err() != nil {
			return
		}
		if next > before {
			try = 0
		}
		if err != nil {
			s.board.Set(stall.Reader, fmt.Errorf("read the log: %w", err))
		}
		if stall.Pause(ctx, try) != nil {
			return
		}
	}
}

func (s *Source) readOnce(ctx context.Context, k *lead.LogSession, next *uint64, out chan<- *engine.Event) error {
	stream, err := k.JS.Stream(ctx, k.Stream)
	if err != nil {
		return err
	}
	if first := stream.CachedInfo().State.FirstSeq; *next < first {
		if err := s.readTrimmed(ctx, k, next, first-1, out); err != nil {
			return err
		}
	}
	c, err := stream.OrderedConsumer(ctx, attest.ReadFrom(*next))
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(ReadAhead))
	if err != nil {
		return err
	}
	defer messages.Stop()
	s.board.Set(stall.Reader, nil)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var seen atomic.Uint64
	seen.Store(*next - 1)
	go attest.Watch(ctx, cancel, func(ctx context.Context) (read, last uint64, err error) {
		if _, last, err = k.Bounds(ctx); err != nil {
			return 0, 0, err
		}
		s.SawEnd(last)
		if read = seen.Load(); s.engine.Position() != read { // the processor is not there yet
			read = last
		}
		return read, last, nil
	})
	lacking := false
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		where, err := m.Metadata()
		if err != nil {
			return err
		}
		v := s.Message(where.Sequence.Stream, m.Subject(), m.Headers(), m.Data())
		if v.Stream < *next {
			continue
		}
		if v.Stream > *next {
			// What is nowhere is for the processor to tell.
			var fatal *fatalError
			if _, err := s.lacking(ctx, k, *next, v.Stream-1, s.deliver(ctx, next, out)); err != nil && !errors.As(err, &fatal) {
				return err
			}
			lacking = true
		}
		if lacking { // the server counts what it cannot send
			where.NumPending = 0
		}
		s.SawEnd(v.Stream + where.NumPending)
		if v.Wanted() {
			v.Decode(s.engine.Codec)
		}
		select {
		case out <- v:
			*next = v.Stream + 1
			seen.Store(v.Stream)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Message is a message of the log as the fold sees it.
func (s *Source) Message(stream uint64, subject string, h nats.Header, data []byte) *engine.Event {
	id, n := h.Get(HeaderID), h.Get(HeaderSequence)
	sequence, err := strconv.ParseUint(n, 10, 64)
	if err != nil || uuid.Validate(id) != nil {
		id, sequence = "", 0 // it says both, or it has no place
	}
	return s.engine.Read(stream, subject, id, sequence, data)
}

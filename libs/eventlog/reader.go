package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// readAhead is how many events of the log wait for the processor at most.
const readAhead = 1024

// A logEvent is one event as the log has it.
type logEvent struct {
	stream uint64 // sequence in the log
	*eventType
	id       string
	sequence uint64 // of its source; 0 where it cannot be read
	data     []byte

	event   event.Event
	decoded bool
	err     error // of decoding
}

// decode reads the event, once.
func (v *logEvent) decode(c Codec) {
	if v.decoded {
		return
	}
	v.decoded = true
	if v.event, v.err = c.Decode(v.data); v.err != nil {
		return
	}
	id, sequence := v.event.ID(), Sequence(v.event)
	if v.event.Type() != v.typ || v.id != "" && id != v.id || v.sequence != 0 && sequence != v.sequence {
		v.err = errors.New("the event is not what its subject and headers say")
		return
	}
	v.id, v.sequence = id, sequence
}

// read delivers the log from a sequence on, in order and without a filter, until
// the context ends. It recovers from whatever happens to the consumer; that the
// sequence has no gap is for the processor to check.
func (l *Log) read(ctx context.Context, k *link, from uint64, out chan<- *logEvent) {
	next := from
	for try := 0; ctx.Err() == nil; try++ {
		before := next
		err := l.readOnce(ctx, k, &next, out)
		if ctx.Err() != nil {
			return
		}
		if next > before {
			try = 0
		}
		if err != nil {
			l.setTrouble(troubleReader, fmt.Errorf("read the log: %w", err))
		}
		if pause(ctx, try) != nil {
			return
		}
	}
}

func (l *Log) readOnce(ctx context.Context, k *link, next *uint64, out chan<- *logEvent) error {
	s, err := k.js.Stream(ctx, k.stream)
	if err != nil {
		return err
	}
	if first := s.CachedInfo().State.FirstSeq; *next < first {
		if err := l.readTrimmed(ctx, next, first-1, out); err != nil {
			return err
		}
	}
	c, err := s.OrderedConsumer(ctx, epoch.ReadFrom(*next))
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return err
	}
	defer messages.Stop()
	l.setTrouble(troubleReader, nil)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var seen atomic.Uint64
	seen.Store(*next - 1)
	go epoch.Watch(ctx, cancel, func(ctx context.Context) (read, last uint64, err error) {
		if _, last, err = k.bounds(ctx); err != nil {
			return 0, 0, err
		}
		l.sawEnd(last)
		if read = seen.Load(); l.position() != read { // the processor is not there yet
			read = last
		}
		return read, last, nil
	})
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
		v := l.newLogEvent(where.Sequence.Stream, m.Subject(), m.Headers(), m.Data())
		if v.stream < *next {
			continue
		}
		if v.stream > *next {
			// Trimmed while it was read: the archive has it. What is missing otherwise
			// is for the processor to tell.
			if first, _, err := k.bounds(ctx); err != nil || *next < first {
				return errors.Join(err, fmt.Errorf("the log was trimmed up to %d", first))
			}
		}
		l.sawEnd(v.stream + where.NumPending)
		if v.wanted() {
			v.decode(l.codec)
		}
		select {
		case out <- v:
			*next = v.stream + 1
			seen.Store(v.stream)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (l *Log) newLogEvent(stream uint64, subject string, h nats.Header, data []byte) *logEvent {
	v := &logEvent{stream: stream, eventType: l.published(subject), data: data}
	if id := h[headerID]; len(id) == 1 {
		v.id = id[0]
	}
	if n := h[headerSequence]; len(n) == 1 {
		v.sequence, _ = strconv.ParseUint(n[0], 10, 64)
	}
	return v
}

// wanted says whether the fold has to see inside the event; of others it is enough
// to know that they were there.
func (v *logEvent) wanted() bool {
	if v.id == "" || v.sequence == 0 {
		return true
	}
	return !v.decision && (v.apply != nil || v.decide != nil || v.answer != "")
}

package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-io/freshet/libs/archive"
)

// An Origin is where a replay reads the log's past.
type Origin string

const (
	// FromLog reads JetStream, and the archive for what was trimmed there.
	FromLog Origin = "log"
	// FromArchive reads the Kafka archive, and JetStream for what is not there yet.
	FromArchive Origin = "archive"
)

const (
	// chunkEvents is how many events of a replay share a transaction.
	chunkEvents = 4096
	// chunkBytes bounds what a chunk holds in memory.
	chunkBytes = 8 << 20
)

// ErrNoArchive: the archive was asked for, or has what the log no longer has, and none
// is configured or it is empty.
var ErrNoArchive = errors.New("the archive is needed, and there is none")

// A chunk is a run of events of the log without a gap.
type chunk []*logEvent

// readPast delivers the events (after, until] in order, in chunks: from the
// archive where that is asked for or the log no longer holds them, the rest from
// the log. It returns when all are delivered.
func (l *Log) readPast(ctx context.Context, origin Origin, after, until uint64, out func(chunk) error) error {
	if after >= until {
		return nil
	}
	k, err := l.at()
	if err != nil {
		return err
	}
	first, last, err := k.bounds(ctx)
	if err != nil {
		return err
	}
	if until > last {
		return alarmf("the log ends at %d, and %d was applied", last, until)
	}
	next := after + 1
	limit := until
	if origin != FromArchive {
		limit = min(until, first-1)
	}
	if next <= limit && (origin == FromArchive || next < first) {
		if next, err = l.readArchive(ctx, next, limit, out); err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if origin == FromArchive && next == 1 {
			return ErrNoArchive
		}
	}
	if next > until {
		return nil
	}
	if next < first {
		return alarmf("event %d is neither in the archive nor in the log, which begins at %d", next, first)
	}
	if err := l.readStream(ctx, next, until, out); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}

// gather collects events into chunks.
type gather struct {
	out   func(chunk) error
	now   chunk
	bytes int
}

func (g *gather) add(v *logEvent) error {
	g.now, g.bytes = append(g.now, v), g.bytes+len(v.data)
	if len(g.now) < chunkEvents && g.bytes < chunkBytes {
		return nil
	}
	return g.flush()
}

func (g *gather) flush() error {
	if len(g.now) == 0 {
		return nil
	}
	full := g.now
	g.now, g.bytes = make(chunk, 0, chunkEvents), 0
	return g.out(full)
}

// readStream delivers (…until] from JetStream. A consumer that falls silent or
// ends is made anew where it stopped.
func (l *Log) readStream(ctx context.Context, next, until uint64, out func(chunk) error) error {
	g := &gather{out: out, now: make(chunk, 0, chunkEvents)}
	for try := 0; next <= until; try++ {
		before := next
		err := l.readStreamOnce(ctx, &next, until, g)
		if err == nil {
			break
		}
		var fatal *fatalError
		if errors.As(err, &fatal) {
			return fatal.error
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if next > before {
			try = 0
		}
		if try >= 5 {
			return err
		}
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
	return g.flush()
}

// A fatalError is not worth another try.
type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

func (l *Log) readStreamOnce(ctx context.Context, next *uint64, until uint64, g *gather) error {
	k, err := l.at()
	if err != nil {
		return err
	}
	p, err := newPull(ctx, k, *next, until+1-*next)
	if err != nil {
		return err
	}
	defer p.close(ctx)
	for *next <= until {
		m, where, err := p.next(ctx)
		if err != nil {
			return err
		}
		v := l.newLogEvent(where.Sequence.Stream, m.Subject, m.Header, m.Data)
		if v.stream < *next {
			continue
		}
		if v.stream > *next {
			first, _, err := k.bounds(ctx)
			if err != nil {
				return err
			}
			if *next >= first {
				return &fatalError{alarmf("the log goes from %d to %d", *next-1, v.stream)}
			}
			// It was trimmed meanwhile.
			*next, err = l.readArchive(ctx, *next, min(until, v.stream-1), func(c chunk) error {
				for _, one := range c {
					if err := g.add(one); err != nil {
						return &fatalError{err}
					}
				}
				return nil
			})
			if err != nil || *next > until {
				return err
			}
		}
		if err := g.add(v); err != nil {
			return &fatalError{err}
		}
		*next++
	}
	return nil
}

// readArchive delivers [next, until] as far as the archive has them, and returns
// the sequence to go on with, also where it fails: after what was delivered.
func (l *Log) readArchive(ctx context.Context, next, until uint64, out func(chunk) error) (uint64, error) {
	if l.archive == nil {
		return next, ErrNoArchive
	}
	unknown := l.eventType("")
	tail, err := l.archive.Tail(ctx)
	if err == nil {
		g := &gather{now: make(chunk, 0, chunkEvents), out: func(c chunk) error {
			err := out(c)
			if err == nil {
				next = c[len(c)-1].stream + 1
			}
			return err
		}}
		err = l.archive.Read(ctx, next, min(until, tail.Sequence), func(batch []archive.Record) error {
			for _, r := range batch {
				// Its type is inside it only: it is known once it was decoded.
				if err := g.add(&logEvent{stream: r.Sequence, eventType: unknown, data: r.Data}); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			err = g.flush()
		}
	}
	if errors.Is(err, archive.ErrForeign) || errors.Is(err, archive.ErrMissing) {
		err = &alarm{err}
	}
	return next, err
}

// open decodes an event that the fold has to see inside.
func (l *Log) open(v *logEvent) {
	if v.typ == "" && !v.decoded { // of the archive
		v.decoded = true
		if v.event, v.err = l.codec.Decode(v.data); v.err == nil {
			v.eventType = l.eventType(v.event.Type())
			v.id, v.sequence = v.event.ID(), Sequence(v.event)
		}
		return
	}
	if v.wanted() {
		v.decode(l.codec)
	}
}

// readTrimmed delivers to the live processor what the log no longer holds.
func (l *Log) readTrimmed(ctx context.Context, next *uint64, until uint64, out chan<- *logEvent) error {
	err := l.readPast(ctx, FromLog, *next-1, until, func(c chunk) error {
		for _, v := range c {
			l.open(v)
			if err := send(ctx, out, v); err != nil {
				return err
			}
			*next = v.stream + 1
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("events before %d are only in the archive: %w", until+1, err)
	}
	return nil
}

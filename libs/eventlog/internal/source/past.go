package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
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
	// ChunkEvents is how many events of a replay share a transaction.
	ChunkEvents = 4096
	// chunkBytes bounds what a chunk holds in memory.
	chunkBytes = 8 << 20
)

// ErrNoArchive: the archive was asked for, or has what the log no longer has, and none
// is configured or it is empty.
var ErrNoArchive = errors.New("the archive is needed, and there is none")

// A Chunk is a run of events of the log without a gap.
type Chunk []*engine.Event

// Past delivers the events (after, until] in order, in chunks: from the
// archive where that is asked for or the log no longer holds them, the rest from
// the log. It returns when all are delivered.
func (s *Source) Past(ctx context.Context, k *lead.LogSession, origin Origin, after, until uint64, out func(Chunk) error) error {
	if after >= until {
		return nil
	}
	if k.Gone() {
		return lead.ErrUnavailable
	}
	first, last, err := k.Bounds(ctx)
	if err != nil {
		return err
	}
	if until > last {
		return stall.Alarmf("the log ends at %d, and %d was applied", last, until)
	}
	next := after + 1
	limit := until
	if origin != FromArchive {
		limit = min(until, first-1)
	}
	if next <= limit && (origin == FromArchive || next < first) {
		if next, err = s.Archived(ctx, next, limit, out); err != nil {
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
		return stall.Alarmf("event %d is neither in the archive nor in the log, which begins at %d", next, first)
	}
	if err := s.readStream(ctx, k, next, until, out); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}

// gather collects events into chunks.
type gather struct {
	out   func(Chunk) error
	now   Chunk
	bytes int
}

func (g *gather) add(v *engine.Event) error {
	g.now, g.bytes = append(g.now, v), g.bytes+len(v.Data)
	if len(g.now) < ChunkEvents && g.bytes < chunkBytes {
		return nil
	}
	return g.flush()
}

func (g *gather) flush() error {
	if len(g.now) == 0 {
		return nil
	}
	full := g.now
	g.now, g.bytes = make(Chunk, 0, ChunkEvents), 0
	return g.out(full)
}

// readStream delivers (…until] from JetStream. A consumer that falls silent or
// ends is made again where it stopped.
func (s *Source) readStream(ctx context.Context, k *lead.LogSession, next, until uint64, out func(Chunk) error) error {
	g := &gather{out: out, now: make(Chunk, 0, ChunkEvents)}
	for try := 0; next <= until; try++ {
		before := next
		err := s.readStreamOnce(ctx, k, &next, until, g)
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
		if err := stall.Pause(ctx, try); err != nil {
			return err
		}
	}
	return g.flush()
}

// A fatalError is not worth another try.
type fatalError struct{ error }

func (e *fatalError) Unwrap() error { return e.error }

func (s *Source) readStreamOnce(ctx context.Context, k *lead.LogSession, next *uint64, until uint64, g *gather) error {
	if k.Gone() {
		return lead.ErrUnavailable
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
		v := s.Message(where.Sequence.Stream, m.Subject, m.Header, m.Data)
		if v.Stream < *next {
			continue
		}
		if v.Stream > *next {
			*next, err = s.lacking(ctx, k, *next, min(until, v.Stream-1), func(c Chunk) error {
				for _, one := range c {
					if err := g.add(one); err != nil {
						return &fatalError{err}
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			if *next > until {
				return nil
			}
		}
		if err := g.add(v); err != nil {
			return &fatalError{err}
		}
		*next++
	}
	return nil
}

// Archived delivers [next, until] as far as the archive has them, and returns
// the sequence to continue with, also where it fails: after what was delivered.
func (s *Source) Archived(ctx context.Context, next, until uint64, out func(Chunk) error) (uint64, error) {
	if s.archive == nil {
		return next, ErrNoArchive
	}
	tail, err := s.archive.Tail(ctx)
	if err == nil {
		g := &gather{now: make(Chunk, 0, ChunkEvents), out: func(c Chunk) error {
			err := out(c)
			if err == nil {
				next = c[len(c)-1].Stream + 1
			}
			return err
		}}
		err = s.archive.Read(ctx, next, min(until, tail.Sequence), func(batch []archive.Record) error {
			for _, r := range batch {
				// Its type is inside it only: it is known once it was decoded.
				if err := g.add(s.engine.Archived(r.Sequence, r.Subject(), r.Data)); err != nil {
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
		err = stall.NewAlarm(err)
	}
	return next, err
}

// lacking delivers [next, until] from the archive, because the stream lacks them: it was
// trimmed meanwhile, or its store is damaged. What the archive does not have either is an
// alarm. It returns the sequence to continue with, as Archived does.
func (s *Source) lacking(ctx context.Context, k *lead.LogSession, next, until uint64, out func(Chunk) error) (uint64, error) {
	first, _, err := k.Bounds(ctx)
	if err != nil {
		return next, err
	}
	if until >= first {
		s.engine.Logger.Error("the log's store lacks events; they are read from the archive", "first", max(next, first), "last", until)
	}
	next, err = s.Archived(ctx, next, until, out)
	nowhere := errors.Is(err, ErrNoArchive) || errors.Is(err, archive.ErrMissing) || errors.Is(err, archive.ErrForeign)
	if next <= until && (err == nil || nowhere) {
		err = &fatalError{stall.Alarmf("the log goes from %d to %d: its store lacks event %d, and so does the archive", next-1, until+1, next)}
	}
	return next, err
}

// readTrimmed delivers to the live processor what the log no longer holds.
func (s *Source) readTrimmed(ctx context.Context, k *lead.LogSession, next *uint64, until uint64, out chan<- *engine.Event) error {
	err := s.Past(ctx, k, FromLog, *next-1, until, s.deliver(ctx, next, out))
	if err != nil {
		return fmt.Errorf("events before %d are only in the archive: %w", until+1, err)
	}
	return nil
}

// deliver gives chunks to the live processor, and moves next.
func (s *Source) deliver(ctx context.Context, next *uint64, out chan<- *engine.Event) func(Chunk) error {
	return func(c Chunk) error {
		for _, v := range c {
			s.engine.Open(v)
			if err := Send(ctx, out, v); err != nil {
				return err
			}
			*next = v.Stream + 1
		}
		return nil
	}
}

// Send gives a value to a channel unless the context ends first.
func Send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

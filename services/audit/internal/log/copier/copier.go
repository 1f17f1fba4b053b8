// Package copier copies the log to its archive in Kafka, in order and byte by byte.
//
// # Guarantees
//
// The copy continues after the topic's last record; nothing else stores how far it is.
// One request is in flight at a time, and no message is skipped.
//
// # How it fails
//
// After any error the copier reads the topic's last record again, then continues. A
// broker may still store a request after it answered with an error: then sequences
// repeat, and a reader drops every record whose sequence is not above the last one it
// took. Where the log does not continue the archive, the copier reports a Gap and waits.
package copier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
)

const (
	batchLimit = 500
	batchBytes = 384 << 10 // of the values: one request carries it with its headers
	retryFirst = 50 * time.Millisecond
	retryLast  = 5 * time.Second
	lastAnswer = 5 * time.Second // to a request that was sent when the copy is stopped
)

// A Gap is where the log does not continue the archive.
type Gap struct {
	Sequence        uint64 // of the message that is missing or different
	Expected, Found string // digests: the archive's, the log's; empty where there is none
}

func (g *Gap) Error() string {
	if g.Found == "" {
		return fmt.Sprintf("the log lacks the message at sequence %d", g.Sequence)
	}
	return fmt.Sprintf("the log has %s at sequence %d, the archive %s", g.Found, g.Sequence, g.Expected)
}

// Kafka is what the copier needs of a client.
type Kafka interface {
	Ensure(ctx context.Context, topic string, partitions int) error
	Bounds(ctx context.Context, topic string) (first, end map[int]int64, err error)
	Fetch(ctx context.Context, topic string, partition int, offset int64, maxWait time.Duration) ([]kafka.Record, int64, error)
	Produce(ctx context.Context, topic string, records ...kafka.Record) error
	Partitions(ctx context.Context, topic string) (int, error)
	Settings(ctx context.Context, topic string, names ...string) (map[string]string, error)
}

// Copier copies one stream.
type Copier struct {
	log    *logread.Reader
	kafka  Kafka
	logger *slog.Logger
	found  func(ctx context.Context, gap Gap) error

	had      uint64 // most that the archive was seen to have
	archived atomic.Uint64
	copies   atomic.Bool // Run runs
	gap      atomic.Bool
	failing  atomic.Pointer[error]

	mu       sync.Mutex
	advanced chan struct{}
}

// New returns a copier. Had is how far the archive is known to have been. Found is called
// when the log does not continue the archive.
func New(log *logread.Reader, client Kafka, logger *slog.Logger, had uint64, found func(context.Context, Gap) error) *Copier {
	return &Copier{log: log, kafka: client, logger: logger, found: found, had: had, advanced: make(chan struct{})}
}

// Archived is the sequence of the last message known to be in the archive.
func (c *Copier) Archived() uint64 { return c.archived.Load() }

// Advanced is closed when the archive has more than it has now.
func (c *Copier) Advanced() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.advanced
}

func (c *Copier) reached(sequence uint64) {
	c.archived.Store(sequence)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.advanced)
	c.advanced = make(chan struct{})
}

// InGap reports whether copying waits because the log does not continue the archive.
func (c *Copier) InGap() bool { return c.gap.Load() }

// Failing is why nothing can be copied now; nil where all is well, or another process
// copies.
func (c *Copier) Failing(context.Context) error {
	if err := c.failing.Load(); err != nil {
		return *err
	}
	return nil
}

// Behind is how many messages are not in the archive yet.
func (c *Copier) Behind(ctx context.Context) (int64, error) {
	_, last, err := c.log.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	archived := c.archived.Load()
	if !c.copies.Load() { // another process may
		if tail, err := archive.New(c.kafka).Tail(ctx); err == nil { // while it is unavailable, what was known of it stands
			archived = max(archived, tail.Sequence)
		}
	}
	return int64(last) - int64(min(last, archived)), nil
}

// Run copies until the context ends. Every error makes it read the topic's tail and
// continue from there.
func (c *Copier) Run(ctx context.Context) error {
	c.copies.Store(true)
	defer c.copies.Store(false)
	defer c.failing.Store(nil)
	pause := retryFirst
	for {
		before := c.archived.Load()
		err := c.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var gap *Gap
		if errors.As(err, &gap) {
			c.gap.Store(true)
			if ferr := c.found(ctx, *gap); ferr != nil {
				err = errors.Join(err, ferr)
			}
		}
		if c.archived.Load() > before {
			pause = retryFirst
		}
		c.failing.Store(&err)
		c.logger.Error("copying the log to its archive failed; the tail is read again", "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, retryLast)
	}
}

// session continues from the topic's tail until the first error.
func (c *Copier) session(ctx context.Context) error {
	ensured := c.kafka.Ensure(ctx, archive.Topic, 1)
	if err := Check(ctx, c.kafka); err != nil {
		return err // it says how to repair what Ensure refuses
	}
	if ensured != nil {
		return ensured
	}
	tail, err := archive.New(c.kafka).Tail(ctx)
	if err != nil {
		return err
	}
	if err := c.attest(ctx, tail); err != nil {
		return err
	}
	c.gap.Store(false)
	c.failing.Store(nil)
	if c.had = max(c.had, c.archived.Load()); tail.Sequence < c.had {
		c.logger.Warn("the archive has less than it had; what is missing is copied again from the log", "ends_at", tail.Sequence, "had", c.had)
		c.had = tail.Sequence
	}
	c.reached(tail.Sequence)
	next := tail.Sequence + 1
	return c.log.Run(ctx, next, batchLimit, func(batch []logread.Message) error {
		for len(batch) > 0 {
			var records []kafka.Record
			for bytes := 0; len(batch) > 0; batch = batch[1:] {
				if batch[0].Sequence != next {
					return errors.Join(c.store(ctx, next-1, records), &Gap{Sequence: next})
				}
				if bytes += len(batch[0].Data); len(records) > 0 && bytes > batchBytes {
					break
				}
				records = append(records, archive.NewRecord(c.log.Stream(), next, batch[0].Subject, batch[0].Data, batch[0].Stored))
				next++
			}
			if err := c.store(ctx, next-1, records); err != nil {
				return err
			}
		}
		return nil
	})
}

// store sends one request and waits for its answer, also when the copy is being
// stopped: what is on its way when the next copier reads the tail would be stored
// behind its back.
func (c *Copier) store(ctx context.Context, last uint64, records []kafka.Record) error {
	if len(records) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastAnswer, cancel) })()
	if err := c.kafka.Produce(patient, archive.Topic, records...); err != nil {
		return err
	}
	c.reached(last)
	return nil
}

// attest compares the archive's end with the log.
func (c *Copier) attest(ctx context.Context, tail archive.Record) error {
	first, last, err := c.log.Bounds(ctx)
	if err != nil {
		return err
	}
	switch {
	case tail.Sequence+1 < first:
		return &Gap{Sequence: tail.Sequence + 1}
	case tail.Sequence == 0 || tail.Sequence < first:
		return nil
	case tail.Sequence > last:
		return &Gap{Sequence: tail.Sequence, Expected: tail.Digest}
	}
	m, err := c.log.Get(ctx, tail.Sequence)
	if errors.Is(err, logread.ErrMissing) {
		return &Gap{Sequence: tail.Sequence, Expected: tail.Digest}
	}
	if err != nil {
		return err
	}
	if d := archive.Digest(m.Data); d != tail.Digest {
		return &Gap{Sequence: tail.Sequence, Expected: tail.Digest, Found: d}
	}
	return nil
}

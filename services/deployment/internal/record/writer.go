package record

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/google/uuid"
)

// ErrFull means that the queue stayed full for as long as the caller could wait.
var ErrFull = errors.New("inference records wait for Kafka and there is no room for more")

const (
	batchRecords = 2000
	batchBytes   = 4 << 20
	flushTime    = 10 * time.Second
	longestPause = 2 * time.Second
)

// A Producer stores records; *kafka.Client is one.
type Producer interface {
	Ensure(ctx context.Context, topic string, partitions int) error
	Produce(ctx context.Context, topic string, records ...kafka.Record) error
}

// Writer queues records and writes them.
type Writer struct {
	producer Producer
	logger   *slog.Logger
	limit    int

	mu     sync.Mutex
	queue  []kafka.Record
	bytes  int           // queued and in flight
	count  int           // queued and in flight
	filled chan struct{} // one token when the queue is not empty
	freed  chan struct{} // closed when room was made
}

// NewWriter returns a writer that holds at most limit bytes.
func NewWriter(producer Producer, limit int, logger *slog.Logger) *Writer {
	return &Writer{producer: producer, logger: logger, limit: limit,
		filled: make(chan struct{}, 1), freed: make(chan struct{})}
}

// Offer queues a record, waiting for room as long as the context allows.
func (w *Writer) Offer(ctx context.Context, namespace string, r Record) error {
	for _, part := range r.split() {
		k, err := message(namespace, part)
		if err != nil {
			return err
		}
		if err := w.put(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func message(namespace string, r Record) (kafka.Record, error) {
	value, err := r.encode()
	if err != nil {
		return kafka.Record{}, fmt.Errorf("inference record: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return kafka.Record{}, fmt.Errorf("inference record: %w", err)
	}
	header := func(k, v string) kafka.Header { return kafka.Header{Key: k, Value: []byte(v)} }
	return kafka.Record{
		Topic: Topic,
		Key:   []byte(namespace + "/" + r.Model + "/" + r.Environment),
		Value: value,
		Time:  r.Time,
		Headers: []kafka.Header{
			header("ce_specversion", "1.0"), header("ce_id", id.String()), header("ce_source", "/freshet/deployment"),
			header("ce_type", Type), header("ce_subject", r.Model), header("ce_time", r.Time.UTC().Format(time.RFC3339Nano)),
			header("ce_dataschema", "https://freshet.io/contracts/inference/v1/record.json"),
			header("ce_namespace", namespace), header("content-type", "application/json"),
		},
	}, nil
}

func size(k kafka.Record) int { return len(k.Value) + len(k.Key) + 512 }

func (w *Writer) put(ctx context.Context, k kafka.Record) error {
	n := size(k)
	for {
		w.mu.Lock()
		if w.bytes == 0 || w.bytes+n <= w.limit {
			w.queue = append(w.queue, k)
			w.bytes += n
			w.count++
			w.mu.Unlock()
			select {
			case w.filled <- struct{}{}:
			default:
			}
			return nil
		}
		freed := w.freed
		w.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrFull, ctx.Err())
		}
	}
}

// Behind is how many records are not yet written.
func (w *Writer) Behind(context.Context) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int64(w.count), nil
}

// Run writes until the context ends, and then what is left.
func (w *Writer) Run(ctx context.Context) error {
	if err := w.producer.Ensure(ctx, Topic, 1); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := w.drain(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-w.filled:
		case <-ctx.Done():
		}
	}
	return w.Flush(context.WithoutCancel(ctx))
}

// Flush writes what is queued, within a bounded time.
func (w *Writer) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	return w.drain(ctx)
}

// drain writes batch by batch until the queue is empty. A batch is tried until it
// is stored: records are only ever given up with the process.
func (w *Writer) drain(ctx context.Context) error {
	for {
		batch, bytes := w.take()
		if len(batch) == 0 {
			return nil
		}
		for pause := 10 * time.Millisecond; ; pause = min(2*pause, longestPause) {
			err := w.producer.Produce(ctx, Topic, batch...)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				w.putBack(batch)
				return fmt.Errorf("inference records: %w", err)
			}
			w.logger.Warn("inference records cannot be written; trying again", "records", len(batch), "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
		w.free(len(batch), bytes)
	}
}

func (w *Writer) take() (batch []kafka.Record, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.queue) && n < batchRecords && (n == 0 || bytes+size(w.queue[n]) <= batchBytes) {
		bytes += size(w.queue[n])
		n++
	}
	batch = w.queue[:n:n]
	w.queue = w.queue[n:]
	return batch, bytes
}

func (w *Writer) putBack(batch []kafka.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(batch, w.queue...)
}

func (w *Writer) free(records, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count -= records
	w.bytes -= bytes
	if len(w.queue) == 0 {
		w.queue = nil // gives the array back
	}
	close(w.freed)
	w.freed = make(chan struct{})
}

// Package archive reads the log's archive: the Kafka topic that holds every message
// of the log, in the log's order and with the same bytes, also those that the log
// itself no longer has.
//
// It guarantees that what is read is the log: each sequence once, in order, none
// missing, every value with the digest that its record names. Of a sequence that was
// stored twice the first record is read; that the other has the same bytes is for an
// audit to find. What does not hold these promises is an error, never skipped. The
// archive's end is wherever its last record is: who copies the log may be behind.
package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	kgo "github.com/segmentio/kafka-go"
)

// Topic is where the log is kept for years; it has one partition.
const Topic = "freshet.events"

// Names of a record's headers.
const (
	HeaderStream   = "natsstream"
	HeaderSequence = "natsseq"
	HeaderEpoch    = "epoch"
	HeaderDigest   = "digest"
)

const fetchWait = 500 * time.Millisecond

var (
	// ErrForeign: the topic holds a record that is not a copy of a message.
	ErrForeign = errors.New("the archive holds a record that the log's copier did not write")
	// ErrMissing: the archive does not have what was asked for.
	ErrMissing = errors.New("the archive does not have it")
)

// A Record is one message of the log.
type Record struct {
	Sequence uint64 // in the log
	Epoch    string // of the log, when it was copied
	Digest   string // of Data, as Digest names it
	Data     []byte
	Key      []byte    // the namespace and the event's id; of what is no event, its subject behind a slash
	Time     time.Time // when the log took it
	Offset   int64     // in the topic
}

// Kafka is what a reader needs of a client.
type Kafka interface {
	Bounds(ctx context.Context, topic string) (first, end map[int]int64, err error)
	Fetch(ctx context.Context, topic string, partition int, offset int64, maxWait time.Duration) ([]kafka.Record, int64, error)
}

// Reader reads the archive. It keeps no state and may be shared.
type Reader struct{ kafka Kafka }

// New returns a reader.
func New(client Kafka) *Reader { return &Reader{client} }

// Digest is how a message's bytes are named everywhere.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Parse reads a record of the topic and checks it.
func Parse(r kafka.Record) (Record, error) {
	out := Record{Data: r.Value, Key: r.Key, Time: r.Time, Offset: r.Offset}
	for _, h := range r.Headers {
		switch h.Key {
		case HeaderSequence:
			n, err := strconv.ParseUint(string(h.Value), 10, 64)
			if err != nil {
				return Record{}, fmt.Errorf("%w: at offset %d: %w", ErrForeign, r.Offset, err)
			}
			out.Sequence = n
		case HeaderEpoch:
			out.Epoch = string(h.Value)
		case HeaderDigest:
			out.Digest = string(h.Value)
		}
	}
	if out.Sequence == 0 || out.Digest != Digest(r.Value) {
		return Record{}, fmt.Errorf("%w: at offset %d", ErrForeign, r.Offset)
	}
	return out, nil
}

// Subject is that of a message which is no event of the service under whose subject it
// was published; empty of an event, whose type and namespace say it.
func (r Record) Subject() string {
	if len(r.Key) > 0 && r.Key[0] == '/' {
		return string(r.Key[1:])
	}
	return ""
}

// NewRecord makes the record of a message of the log's stream, as Parse reads it. Its key
// begins with the namespace, so that records can be told apart by tenant without reading
// them; a message that is no event of its subject is named by that.
func NewRecord(stream string, sequence uint64, subject string, data []byte, stored time.Time) kafka.Record {
	key, ok := eventKey(subject, data)
	if !ok {
		key = "/" + subject
	}
	return kafka.Record{Topic: Topic, Key: []byte(key), Value: data, Time: stored, Headers: []kafka.Header{
		{Key: HeaderStream, Value: []byte(stream)},
		{Key: HeaderSequence, Value: strconv.AppendUint(nil, sequence, 10)},
		{Key: HeaderEpoch, Value: strconv.AppendInt(nil, int64(attest.Number(stream)), 10)},
		{Key: HeaderDigest, Value: []byte(Digest(data))},
	}}
}

// Foreign says whether a message is no event of the service under whose subject it was
// published.
func Foreign(subject string, data []byte) bool {
	_, ok := eventKey(subject, data)
	return !ok
}

// eventKey is the namespace and id of an event, unless it is none, or not its subject's; a
// namespace with a slash would read as a subject. An event that was read from the archive is known without its subject.
func eventKey(subject string, data []byte) (key string, ok bool) {
	var e struct {
		Namespace string `json:"namespace"`
		ID        string `json:"id"`
		Type      string `json:"type"`
		Source    string `json:"source"`
	}
	if err := json.Unmarshal(data, &e); err != nil || e.Namespace == "" || strings.Contains(e.Namespace, "/") || e.ID == "" {
		return "", false
	}
	return e.Namespace + "/" + e.ID, subject == "" || publishes(e.Source, e.Type, subject)
}

// Names of the log's events; the last part of a type is that of the subject.
const (
	typePrefix   = "io.freshet."
	sourcePrefix = "/freshet/"
)

// publishes says whether events of a source and type are published under a subject,
// freshet.<namespace>.<last part of the type>.
func publishes(source, typ, subject string) bool {
	parts := strings.SplitN(subject, ".", 3)
	if len(parts) < 3 {
		return false
	}
	service, _, _ := strings.Cut(parts[2], ".")
	return typ == typePrefix+parts[2] && source == sourcePrefix+service
}

func (a *Reader) bounds(ctx context.Context) (first, end int64, err error) {
	f, e, err := a.kafka.Bounds(ctx, Topic)
	if errors.Is(err, kgo.UnknownTopicOrPartition) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("the archive: %w", err)
	}
	if len(e) != 1 {
		return 0, 0, fmt.Errorf("%w: topic %s has %d partitions and must have one", ErrForeign, Topic, len(e))
	}
	return f[0], e[0], nil
}

// at reads what the topic has from an offset on, at least one record.
func (a *Reader) at(ctx context.Context, offset, end int64) ([]kafka.Record, int64, error) {
	for next := offset; ; {
		records, after, err := a.kafka.Fetch(ctx, Topic, 0, next, fetchWait)
		if err != nil {
			return nil, 0, fmt.Errorf("the archive: %w", err)
		}
		if len(records) > 0 {
			return records, after, nil
		}
		if after <= next || after >= end {
			return nil, 0, fmt.Errorf("the archive answered nothing from offset %d on, of %d", offset, end)
		}
		next = after
	}
}

// Tail is the archive's last record; the zero Record where it has none.
func (a *Reader) Tail(ctx context.Context) (Record, error) {
	first, end, err := a.bounds(ctx)
	if err != nil || end == 0 {
		return Record{}, err
	}
	if first == end {
		return Record{}, fmt.Errorf("%w: its records were deleted, so nothing says how far it is", ErrForeign)
	}
	var last kafka.Record
	for offset := end - 1; offset < end; {
		records, next, err := a.at(ctx, offset, end)
		if err != nil {
			return Record{}, err
		}
		last, offset = records[len(records)-1], next
	}
	return Parse(last)
}

// Get reads the message at one sequence.
func (a *Reader) Get(ctx context.Context, sequence uint64) (Record, error) {
	var found Record
	err := a.Read(ctx, sequence, sequence, func(batch []Record) error {
		found = batch[0]
		return nil
	})
	return found, err
}

// Read calls fn with every message from a sequence to another, both included, in
// batches and in order. It is ErrMissing where the archive lacks one of them.
func (a *Reader) Read(ctx context.Context, from, to uint64, fn func([]Record) error) error {
	if from == 0 || to < from {
		return nil
	}
	offset, end, err := a.seek(ctx, from)
	if err != nil {
		return err
	}
	for next := from; next <= to; {
		if offset >= end {
			return fmt.Errorf("%w: it ends before %d", ErrMissing, next)
		}
		raw, after, err := a.at(ctx, offset, end)
		if err != nil {
			return err
		}
		offset = after
		if err := deliver(raw, &next, to, fn); err != nil {
			return err
		}
	}
	return nil
}

// Follow calls fn with every message from the log's first on, in batches and in
// order, and then with what is added, until ctx ends.
func (a *Reader) Follow(ctx context.Context, fn func([]Record) error) error {
	offset, _, err := a.bounds(ctx)
	if err != nil {
		return err
	}
	for next := uint64(1); ; {
		raw, after, err := a.kafka.Fetch(ctx, Topic, 0, offset, fetchWait)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was to end
		}
		if err != nil {
			return fmt.Errorf("the archive: %w", err)
		}
		offset = after
		if err := deliver(raw, &next, math.MaxUint64, fn); err != nil {
			return err
		}
	}
}

// deliver calls fn with the records that continue with next, up to to, and moves next.
func deliver(raw []kafka.Record, next *uint64, to uint64, fn func([]Record) error) error {
	batch := make([]Record, 0, len(raw))
	for _, r := range raw {
		record, err := Parse(r)
		switch {
		case err != nil:
			return err
		case record.Sequence < *next || *next > to: // stored twice, or read ahead
			continue
		case record.Sequence > *next:
			return fmt.Errorf("%w: it goes from %d to %d at offset %d", ErrMissing, *next-1, record.Sequence, record.Offset)
		}
		batch = append(batch, record)
		*next++
	}
	if len(batch) == 0 {
		return nil
	}
	return fn(batch)
}

// seek returns the offset of the first record of a sequence. A sequence rises by one
// from record to record, or falls where something was stored twice: what is n ahead
// is at least n records on.
func (a *Reader) seek(ctx context.Context, sequence uint64) (offset, end int64, err error) {
	offset, end, err = a.bounds(ctx)
	if err != nil {
		return 0, 0, err
	}
	for offset < end {
		raw, _, err := a.at(ctx, offset, end)
		if err != nil {
			return 0, 0, err
		}
		for _, r := range raw {
			record, err := Parse(r)
			if err != nil {
				return 0, 0, err
			}
			if record.Sequence == sequence {
				return record.Offset, end, nil
			}
			if record.Sequence > sequence {
				return 0, 0, fmt.Errorf("%w: sequence %d; it has %d at offset %d", ErrMissing, sequence, record.Sequence, record.Offset)
			}
			if ahead := int64(sequence - record.Sequence); record.Offset+ahead > raw[len(raw)-1].Offset { //nolint:gosec // both are counts of messages
				offset = record.Offset + ahead
				break
			}
		}
	}
	return 0, 0, fmt.Errorf("%w: sequence %d; it ends before", ErrMissing, sequence)
}

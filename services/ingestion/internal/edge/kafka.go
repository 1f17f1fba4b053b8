package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/kafka"
)

// InTopic is where outside producers publish; a record's key begins with the
// namespace: "default/flights".
const InTopic = "freshet.in"

// FromKafka reads the outside topic from offsets that are kept beside the state;
// no consumer group is involved.
type FromKafka struct {
	intake *Intake
	client *kafka.Client
}

// NewFromKafka returns the reader of the outside topic.
func NewFromKafka(i *Intake, c *kafka.Client) *FromKafka { return &FromKafka{intake: i, client: c} }

func inputKafka(partition int) string { return fmt.Sprintf("kafka:%s:%d", InTopic, partition) }

// Run reads until ctx ends.
func (f *FromKafka) Run(ctx context.Context) error {
	if err := f.client.Ensure(ctx, InTopic, 1); err != nil {
		return err
	}
	first, _, err := f.client.Bounds(ctx, InTopic)
	if err != nil {
		return err
	}
	offsets := map[int]int64{}
	for partition := range first {
		last, err := f.intake.inputs.Position(ctx, inputKafka(partition))
		if err != nil {
			return err
		}
		if last >= 0 {
			offsets[partition] = last + 1
		}
	}
	err = f.client.Consume(ctx, InTopic, offsets, f.take)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (f *FromKafka) take(ctx context.Context, records []kafka.Record) error {
	for _, r := range records {
		if err := f.one(ctx, r); err != nil {
			return err
		}
		if err := f.intake.inputs.Advance(ctx, inputKafka(r.Partition), r.Offset); err != nil {
			return err
		}
	}
	return nil
}

func (f *FromKafka) one(ctx context.Context, r kafka.Record) error {
	i := f.intake
	namespace, _, _ := strings.Cut(string(r.Key), "/")
	position := fmt.Sprint(r.Offset)
	headers := make(map[string]string, len(r.Headers))
	for _, h := range r.Headers {
		if _, twice := headers[h.Key]; twice {
			return i.quarantine(ctx, inputKafka(r.Partition), "kafka", position, namespace, nil, r.Value,
				&refusal{reason: reasonMalformed, title: "Bad event", detail: fmt.Sprintf("the header %.80q occurs twice", h.Key)})
		}
		headers[h.Key] = string(h.Value)
	}
	var no *refusal
	e, err := events.DecodeKafka(r.Key, r.Value, headers)
	if err == nil {
		err = events.CheckOutside(e)
	}
	if err == nil && len(r.Value) > events.MaxEvent {
		err = fmt.Errorf("%w: %d bytes, and %d are allowed", events.ErrTooLarge, len(r.Value), events.MaxEvent)
	}
	if err != nil {
		errors.As(refusedEvent(err), &no)
		return i.quarantine(ctx, inputKafka(r.Partition), "kafka", position, namespace, nil, r.Value, no)
	}
	_, err = i.arrive(ctx, "kafka", namespace, e)
	if errors.As(err, &no) {
		return i.quarantine(ctx, inputKafka(r.Partition), "kafka", position, namespace, &e, r.Value, no)
	}
	return err
}

// Behind is how many records wait.
func (f *FromKafka) Behind(ctx context.Context) (int64, error) {
	first, end, err := f.client.Bounds(ctx, InTopic)
	if err != nil {
		return 0, err
	}
	var behind int64
	for partition, e := range end {
		last, err := f.intake.inputs.Position(ctx, inputKafka(partition))
		if err != nil {
			return 0, err
		}
		behind += max(e-max(last+1, first[partition]), 0)
	}
	return behind, nil
}

package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// consumeWait is how long a broker may hold an empty fetch.
const consumeWait = 500 * time.Millisecond

// Consume hands every partition's records to fn, in order, from the given
// offsets on, else from the first, until the context ends or fn fails. Calls of fn
// never overlap. Fn commits the next offset (the last record's + 1) together with
// what it wrote, so that a record is neither lost nor applied twice. A broker that
// is unavailable is waited for; ErrOffsetLost ends it.
func (c *Client) Consume(ctx context.Context, topic string, offsets map[int]int64, fn func(ctx context.Context, records []Record) error) error {
	first, end, err := c.boundsWhenUp(ctx, topic)
	if err != nil {
		return err
	}
	start := map[int]int64{}
	for p := range first {
		start[p] = first[p]
		if at, ok := offsets[p]; ok {
			if at < first[p] || at > end[p] {
				return fmt.Errorf("%w: %s/%d, offset %d is outside %d to %d", ErrOffsetLost, topic, p, at, first[p], end[p])
			}
			start[p] = at
		}
	}
	for p := range offsets {
		if _, ok := first[p]; !ok {
			return fmt.Errorf("%w: topic %s has no partition %d", ErrOffsetLost, topic, p)
		}
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var one sync.Mutex // around fn
	var all sync.WaitGroup
	for p, at := range start {
		all.Go(func() {
			if err := c.follow(ctx, topic, p, at, &one, fn); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (c *Client) follow(ctx context.Context, topic string, partition int, offset int64, one *sync.Mutex, fn func(context.Context, []Record) error) error {
	pause := retryFirst
	for {
		records, next, err := c.Fetch(ctx, topic, partition, offset, consumeWait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if !temporary(err) {
				return err
			}
			if !sleep(ctx, pause) {
				return ctx.Err()
			}
			pause = min(2*pause, retryLast)
			continue
		}
		pause = retryFirst
		if len(records) == 0 {
			continue
		}
		one.Lock()
		err = ctx.Err()
		if err == nil {
			err = fn(ctx, records)
		}
		one.Unlock()
		if err != nil {
			return err
		}
		offset = next
	}
}

func (c *Client) boundsWhenUp(ctx context.Context, topic string) (first, end map[int]int64, err error) {
	pause := retryFirst
	for {
		first, end, err = c.Bounds(ctx, topic)
		if err == nil || !temporary(err) {
			return first, end, err
		}
		if !sleep(ctx, pause) {
			return nil, nil, ctx.Err()
		}
		pause = min(2*pause, retryLast)
	}
}

package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	kgo "github.com/segmentio/kafka-go"
)

// A partitionKey names a partition; each has one request in flight at most.
type partitionKey struct {
	topic     string
	partition int
}

// producer sends one partition's batches, one request at a time. Calls that come while
// a request is in flight share the next one.
type producer struct {
	mu      sync.Mutex
	waiting []*batch
	busy    bool
}

// A batch is what one call of Produce has for one partition.
type batch struct {
	records []kgo.Record
	bytes   int
	done    chan error // buffered
}

// Produce stores records in their order, acknowledged by all in-sync replicas.
// When it fails, some of them may have been stored. A context that ends does not
// take back what is already on its way.
func (c *Client) Produce(ctx context.Context, topic string, records ...Record) error {
	if len(records) == 0 {
		return nil
	}
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	batches := map[int]*batch{}
	for i := range records {
		p := PartitionOf(records[i].Key, n)
		b := batches[p]
		if b == nil {
			b = &batch{done: make(chan error, 1)}
			batches[p] = b
		}
		r := write(&records[i])
		b.records = append(b.records, r)
		b.bytes += size(&records[i])
	}
	for p, b := range batches {
		c.enqueue(partitionKey{topic, p}, b)
	}
	var first error
	for p, b := range batches {
		select {
		case err = <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil && first == nil {
			first = fmt.Errorf("producing to %s/%d: %w", topic, p, err)
		}
	}
	return first
}

func (c *Client) enqueue(l partitionKey, b *batch) {
	c.mu.Lock()
	p := c.producers[l]
	if p == nil {
		p = &producer{}
		c.producers[l] = p
	}
	c.mu.Unlock()

	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, b)
	if !p.busy {
		p.busy = true
		go c.flush(l, p)
	}
}

// flush sends what waits until nothing does.
func (c *Client) flush(l partitionKey, p *producer) {
	for {
		p.mu.Lock()
		if len(p.waiting) == 0 {
			p.busy = false
			p.mu.Unlock()
			return
		}
		n, bytes := 0, 0
		for n < len(p.waiting) && (n == 0 || bytes+p.waiting[n].bytes <= batchBytes) {
			bytes += p.waiting[n].bytes
			n++
		}
		group := p.waiting[:n:n]
		p.waiting = p.waiting[n:]
		p.mu.Unlock()

		err := c.send(l, group)
		for _, b := range group {
			b.done <- err
		}
	}
}

// send stores a group of batches: in one request, or in several where a single
// call has more than a request should carry.
func (c *Client) send(l partitionKey, group []*batch) error {
	var records []kgo.Record
	for _, b := range group {
		records = append(records, b.records...)
	}
	for len(records) > 0 {
		n, bytes := 0, 0
		for n < len(records) {
			s := sizeOf(&records[n])
			if n > 0 && bytes+s > batchBytes {
				break
			}
			bytes += s
			n++
		}
		if err := c.request(l, records[:n]); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

func (c *Client) request(l partitionKey, records []kgo.Record) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	res, err := c.client.Produce(ctx, &kgo.ProduceRequest{
		Topic: l.topic, Partition: l.partition, RequiredAcks: kgo.RequireAll,
		Records: kgo.NewRecordReader(records...),
	})
	if err != nil {
		return err
	}
	if res.Error != nil {
		return res.Error
	}
	for i, err := range res.RecordErrors {
		return fmt.Errorf("record %d of %d: %w", i, len(records), err)
	}
	return nil
}

func write(r *Record) kgo.Record {
	out := kgo.Record{Time: r.Time, Value: kgo.NewBytes(r.Value)}
	if r.Key != nil {
		out.Key = kgo.NewBytes(r.Key)
	}
	if out.Time.IsZero() {
		out.Time = time.Now() // the broker's notion of when it came, decides nothing
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.Header{Key: h.Key, Value: h.Value})
	}
	return out
}

func size(r *Record) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 8
	}
	return n
}

func sizeOf(r *kgo.Record) int {
	n := recordOverhead
	if r.Key != nil {
		n += r.Key.Len()
	}
	if r.Value != nil {
		n += r.Value.Len()
	}
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 8
	}
	return n
}

var murmur2 = kgo.Murmur2Balancer{Consistent: true}

// PartitionOf is the partition of a key: murmur2, as Kafka's Java client chooses.
func PartitionOf(key []byte, partitions int) int {
	if partitions == 1 {
		return 0
	}
	all := make([]int, partitions)
	for i := range all {
		all[i] = i
	}
	return murmur2.Balance(kgo.Message{Key: key}, all...)
}

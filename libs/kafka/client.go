package kafka

import (
	"context"
	"errors"
	"time"
)

// A Record is one of a topic's partition.
type Record struct {
	Topic     string
	Partition int
	Offset    int64
	Key       []byte
	Value     []byte
	Headers   []Header
	Time      time.Time
}

// A Header is a record's header.
type Header struct {
	Key   string
	Value []byte
}

// Client talks to one Kafka cluster. It is safe for concurrent use.
type Client struct {
	addrs []string
}

// New returns a client of the cluster with these bootstrap addresses.
func New(addrs ...string) *Client { return &Client{addrs: addrs} }

// Produce stores records in their order, acknowledged by all in-sync replicas.
func (c *Client) Produce(ctx context.Context, topic string, records ...Record) error {
	return errors.ErrUnsupported
}

// Fetch returns a partition's records from an offset on, and the offset to go on
// with. It waits at most maxWait for the first one.
func (c *Client) Fetch(ctx context.Context, topic string, partition int, offset int64, maxWait time.Duration) (records []Record, next int64, err error) {
	return nil, 0, errors.ErrUnsupported
}

// Bounds returns the first offset and the end (the next to be written) of every partition.
func (c *Client) Bounds(ctx context.Context, topic string) (first, end map[int]int64, err error) {
	return nil, nil, errors.ErrUnsupported
}

// Ensure makes sure that a topic exists with exactly this number of partitions.
func (c *Client) Ensure(ctx context.Context, topic string, partitions int) error {
	return errors.ErrUnsupported
}

// Consume hands every partition's records to fn, in order, from the given
// offsets on, else from the first, until the context ends or fn fails. Fn commits
// the next offset together with what it wrote.
func (c *Client) Consume(ctx context.Context, topic string, offsets map[int]int64, fn func(ctx context.Context, records []Record) error) error {
	return errors.ErrUnsupported
}

// Close closes the client's connections.
func (c *Client) Close() {}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	kgo "github.com/segmentio/kafka-go"
)

// ErrOffsetLost means that the broker no longer has, or never had, the offset to continue
// with. Skipping would lose records silently, so somebody must decide.
var ErrOffsetLost = errors.New("the topic no longer has the next offset to read")

const (
	requestTimeout = 10 * time.Second
	fetchBytes     = 8 << 20
	batchBytes     = 512 << 10 // of one produce request, unless a single record is larger
	recordOverhead = 64
	retryFirst     = 20 * time.Millisecond
	retryLast      = 2 * time.Second
	askMost        = 6
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
	client    *kgo.Client
	transport *kgo.Transport

	mu         sync.Mutex
	partitions map[string]int
	producers  map[partitionKey]*producer
}

// New returns a client of the cluster with these bootstrap addresses.
func New(addrs ...string) *Client {
	transport := &kgo.Transport{
		ClientID:    "freshet",
		Dial:        (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		DialTimeout: 5 * time.Second,
		MetadataTTL: 5 * time.Second,
	}
	return &Client{
		client:     &kgo.Client{Addr: kgo.TCP(addrs...), Transport: transport},
		transport:  transport,
		partitions: map[string]int{},
		producers:  map[partitionKey]*producer{},
	}
}

// Close closes the client's idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Partitions is a topic's number of partitions; it never changes, so it is asked once.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	c.mu.Lock()
	n, ok := c.partitions[topic]
	c.mu.Unlock()
	if ok {
		return n, nil
	}
	n, err := c.askPartitions(ctx, topic)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.partitions[topic] = n
	c.mu.Unlock()
	return n, nil
}

func (c *Client) askPartitions(ctx context.Context, topic string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := again(ctx, c.client.Metadata, &kgo.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, fmt.Errorf("asking for topic %s: %w", topic, err)
	}
	for _, t := range res.Topics {
		if t.Name != topic {
			continue
		}
		if t.Error != nil {
			return 0, fmt.Errorf("topic %s: %w", topic, t.Error)
		}
		if len(t.Partitions) == 0 {
			return 0, fmt.Errorf("topic %s: %w", topic, kgo.LeaderNotAvailable)
		}
		return len(t.Partitions), nil
	}
	return 0, fmt.Errorf("topic %s: %w", topic, kgo.UnknownTopicOrPartition)
}

// Ensure makes sure that a topic exists with exactly this number of partitions.
// Another number is an error: keys would move between partitions.
func (c *Client) Ensure(ctx context.Context, topic string, partitions int) error {
	pause := retryFirst
	for {
		err := c.ensure(ctx, topic, partitions)
		if err == nil || !temporary(err) || ctx.Err() != nil {
			return err
		}
		if !sleep(ctx, pause) {
			return err
		}
		pause = min(2*pause, retryLast)
	}
}

func (c *Client) ensure(ctx context.Context, topic string, partitions int) error {
	n, err := c.askPartitions(ctx, topic)
	if errors.Is(err, kgo.UnknownTopicOrPartition) {
		if err := c.create(ctx, topic, partitions); err != nil {
			return err
		}
		n, err = c.askPartitions(ctx, topic)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.partitions[topic] = n
	c.mu.Unlock()
	if n != partitions {
		return fmt.Errorf("topic %s has %d partitions, %d are needed, and a topic's number never changes", topic, n, partitions)
	}
	return nil
}

func (c *Client) create(ctx context.Context, topic string, partitions int) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := c.client.CreateTopics(ctx, &kgo.CreateTopicsRequest{Topics: []kgo.TopicConfig{{
		Topic:             topic,
		NumPartitions:     partitions,
		ReplicationFactor: -1,
		ConfigEntries: []kgo.ConfigEntry{
			{ConfigName: "max.message.bytes", ConfigValue: "8388608"},
			{ConfigName: "retention.ms", ConfigValue: "-1"},
		},
	}}})
	if err != nil {
		return fmt.Errorf("creating topic %s: %w", topic, err)
	}
	if err := res.Errors[topic]; err != nil && !errors.Is(err, kgo.TopicAlreadyExists) {
		return fmt.Errorf("creating topic %s: %w", topic, err)
	}
	return nil
}

// Bounds returns the first offset and the end (the next to be written) of every partition.
func (c *Client) Bounds(ctx context.Context, topic string) (first, end map[int]int64, err error) {
	n, err := c.Partitions(ctx, topic)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	asked := make([]kgo.OffsetRequest, 0, 2*n)
	for p := range n {
		asked = append(asked, kgo.FirstOffsetOf(p), kgo.LastOffsetOf(p))
	}
	res, err := again(ctx, c.client.ListOffsets, &kgo.ListOffsetsRequest{Topics: map[string][]kgo.OffsetRequest{topic: asked}})
	if err != nil {
		return nil, nil, fmt.Errorf("offsets of topic %s: %w", topic, err)
	}
	first, end = map[int]int64{}, map[int]int64{}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, nil, fmt.Errorf("offsets of topic %s, partition %d: %w", topic, p.Partition, p.Error)
		}
		first[p.Partition], end[p.Partition] = p.FirstOffset, p.LastOffset
	}
	if len(end) != n {
		return nil, nil, fmt.Errorf("offsets of topic %s: %d of %d partitions answered", topic, len(end), n)
	}
	return first, end, nil
}

// Fetch returns a partition's records from an offset on, and the offset to continue
// with. It waits at most maxWait for the first one, and then returns none.
func (c *Client) Fetch(ctx context.Context, topic string, partition int, offset int64, maxWait time.Duration) (records []Record, next int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait+requestTimeout)
	defer cancel()
	res, err := again(ctx, c.client.Fetch, &kgo.FetchRequest{
		Topic: topic, Partition: partition, Offset: offset,
		MinBytes: 1, MaxBytes: fetchBytes, MaxWait: max(maxWait, time.Millisecond),
		IsolationLevel: kgo.ReadCommitted,
	})
	if err != nil {
		return nil, offset, fmt.Errorf("fetching %s/%d from %d: %w", topic, partition, offset, err)
	}
	if errors.Is(res.Error, kgo.OffsetOutOfRange) {
		return nil, offset, fmt.Errorf("%w: %s/%d, offset %d", ErrOffsetLost, topic, partition, offset)
	}
	if res.Error != nil {
		return nil, offset, fmt.Errorf("fetching %s/%d from %d: %w", topic, partition, offset, res.Error)
	}
	next = offset
	for {
		r, err := res.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return records, next, nil
		}
		if err != nil {
			return nil, offset, fmt.Errorf("reading %s/%d from %d: %w", topic, partition, next, err)
		}
		if r.Offset < next { // a batch may begin before what was asked
			continue
		}
		rec, err := read(r)
		if err != nil {
			return nil, offset, fmt.Errorf("reading %s/%d at %d: %w", topic, partition, r.Offset, err)
		}
		rec.Topic, rec.Partition = topic, partition
		records = append(records, rec)
		next = r.Offset + 1
	}
}

func read(r *kgo.Record) (Record, error) {
	key, err := kgo.ReadAll(r.Key)
	if err != nil {
		return Record{}, err
	}
	value, err := kgo.ReadAll(r.Value)
	if err != nil {
		return Record{}, err
	}
	rec := Record{Offset: r.Offset, Key: key, Value: value, Time: r.Time.UTC()}
	if len(r.Headers) > 0 {
		rec.Headers = make([]Header, len(r.Headers))
		for i, h := range r.Headers {
			rec.Headers[i] = Header{Key: h.Key, Value: h.Value}
		}
	}
	return rec, nil
}

// again asks what may be asked again, and does where its connection was broken: those
// that a broker's death or an outage closed are noticed one by one, when they are used.
func again[Q, A any](ctx context.Context, ask func(context.Context, *Q) (*A, error), question *Q) (*A, error) {
	pause := retryFirst
	for try := 1; ; try++ {
		answer, err := ask(ctx, question)
		if err == nil || try == askMost || !broken(err) || !sleep(ctx, pause) {
			return answer, err
		}
		pause *= 2
	}
}

func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// temporary says whether another try may succeed: the broker says so, or it
// could not be reached at all.
func temporary(err error) bool {
	if errors.Is(err, ErrOffsetLost) {
		return false
	}
	var k kgo.Error
	if errors.As(err, &k) {
		return k.Temporary() || errors.Is(err, kgo.UnknownTopicOrPartition)
	}
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrClosedPipe)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

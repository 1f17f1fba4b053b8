package kafka_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/stretchr/testify/require"
)

func start(t *testing.T, dir string) (*kafkaserver.Server, *kafka.Client) {
	t.Helper()
	server, err := kafkaserver.Start(kafkaserver.Options{DataDir: dir})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	client := kafka.New(server.Addr())
	t.Cleanup(client.Close)
	return server, client
}

func TestKeepsOrderAcrossConcurrentCalls(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, client := start(t, t.TempDir())
	require.NoError(t, client.Ensure(ctx, "words", 1))

	const writers, each = 8, 50
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				err := client.Produce(ctx, "words", kafka.Record{
					Key: fmt.Appendf(nil, "w%d", w), Value: fmt.Appendf(nil, "%d", i),
					Headers: []kafka.Header{{Key: "ce_id", Value: []byte("1")}},
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()

	_, end, err := client.Bounds(ctx, "words")
	require.NoError(t, err)
	require.EqualValues(t, writers*each, end[0])

	last := map[string]int{}
	var next int64
	for next < end[0] {
		var records []kafka.Record
		records, next, err = client.Fetch(ctx, "words", 0, next, time.Second)
		require.NoError(t, err)
		for _, r := range records {
			require.Equal(t, fmt.Sprint(last[string(r.Key)]), string(r.Value), "of %s", r.Key)
			require.Equal(t, "ce_id", r.Headers[0].Key)
			last[string(r.Key)]++
		}
	}
	require.Len(t, last, writers)
}

func TestKeepsEverythingAcrossARestart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	server, client := start(t, dir)
	require.NoError(t, client.Ensure(ctx, "t", 3))
	for i := range 30 {
		require.NoError(t, client.Produce(ctx, "t", kafka.Record{Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v")}))
	}
	_, before, err := client.Bounds(ctx, "t")
	require.NoError(t, err)
	server.Stop()

	_, again := start(t, dir)
	require.NoError(t, again.Ensure(ctx, "t", 3))
	_, after, err := again.Bounds(ctx, "t")
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.ErrorContains(t, again.Ensure(ctx, "t", 4), "3 partitions")
}

// Connections that a broker's death closed are noticed when they are used: a question
// that has one is asked again.
func TestAnswersAcrossABrokersRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, client := start(t, dir)
	require.NoError(t, client.Ensure(t.Context(), "words", 1))
	for i := range 5 {
		var all sync.WaitGroup
		for range 4 { // at once, each with a connection of its own
			all.Go(func() {
				if _, _, err := client.Fetch(t.Context(), "words", 0, int64(i), 50*time.Millisecond); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		_, port, err := net.SplitHostPort(server.Addr())
		require.NoError(t, err)
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		server.Stop()
		server, err = kafkaserver.Start(kafkaserver.Options{DataDir: dir, Port: n})
		require.NoError(t, err)
		t.Cleanup(server.Stop)
		_, end, err := client.Bounds(t.Context(), "words")
		require.NoError(t, err)
		require.EqualValues(t, i, end[0])
		require.NoError(t, kafka.New(server.Addr()).Produce(t.Context(), "words", kafka.Record{Value: []byte("x")}))
	}
}

func TestConsumeResumesAndRefusesToSkip(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, client := start(t, t.TempDir())
	require.NoError(t, client.Ensure(ctx, "t", 2))
	for i := range 20 {
		require.NoError(t, client.Produce(ctx, "t", kafka.Record{Key: fmt.Appendf(nil, "k%d", i), Value: []byte("v")}))
	}
	_, end, err := client.Bounds(ctx, "t")
	require.NoError(t, err)

	offsets, seen := map[int]int64{}, 0
	done := fmt.Errorf("seen all")
	err = client.Consume(ctx, "t", nil, func(_ context.Context, records []kafka.Record) error {
		for _, r := range records {
			require.Equal(t, offsets[r.Partition], r.Offset)
			offsets[r.Partition] = r.Offset + 1
			seen++
		}
		if seen == 20 {
			return done
		}
		return nil
	})
	require.ErrorIs(t, err, done)
	require.Equal(t, end, offsets)

	require.NoError(t, client.Produce(ctx, "t", kafka.Record{Key: []byte("k0"), Value: []byte("new")}))
	err = client.Consume(ctx, "t", offsets, func(_ context.Context, records []kafka.Record) error {
		require.Len(t, records, 1)
		require.Equal(t, "new", string(records[0].Value))
		return done
	})
	require.ErrorIs(t, err, done)

	err = client.Consume(ctx, "t", map[int]int64{0: 1 << 40}, func(context.Context, []kafka.Record) error { return nil })
	require.ErrorIs(t, err, kafka.ErrOffsetLost)

	ended, cancel := context.WithCancel(ctx)
	cancel()
	err = client.Consume(ended, "t", nil, func(context.Context, []kafka.Record) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
}

func TestLargeCallsAreSplitInOrder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	_, client := start(t, t.TempDir())
	require.NoError(t, client.Ensure(ctx, "t", 1))
	records := make([]kafka.Record, 40)
	for i := range records {
		records[i] = kafka.Record{Value: make([]byte, 100<<10), Headers: []kafka.Header{{Key: "n", Value: fmt.Append(nil, i)}}}
	}
	require.NoError(t, client.Produce(ctx, "t", records...))
	require.NoError(t, client.Produce(ctx, "t", kafka.Record{Value: make([]byte, 3<<20)}))
	n, next := 0, int64(0)
	for n < 41 {
		got, to, err := client.Fetch(ctx, "t", 0, next, time.Second)
		require.NoError(t, err)
		for _, r := range got {
			if n < 40 {
				require.Equal(t, fmt.Sprint(n), string(r.Headers[0].Value))
			} else {
				require.Len(t, r.Value, 3<<20)
			}
			n++
		}
		next = to
	}
	require.Error(t, client.Produce(ctx, "t", kafka.Record{Value: make([]byte, 9<<20)}))
}

package copier_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/audit/internal/log/copier"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const stream = "FRESHET_1"

// A bundle is a log and a broker whose answers a test can lose.
type bundle struct {
	t       *testing.T
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *logread.Reader
	cluster *kfake.Cluster
	addr    string
	gaps    chan copier.Gap
	lose    atomic.Bool // the next answer
	lost    atomic.Int64
}

// setup is a bundle with a broker of its own.
func setup(t *testing.T) *bundle {
	t.Helper()
	b := logOf(t)
	var err error
	b.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(1),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			l, err := net.Listen(network, address)
			return losingListener{l, b}, err
		}))
	require.NoError(t, err)
	t.Cleanup(b.cluster.Close)
	b.addr = b.cluster.ListenAddrs()[0]
	return b
}

// logOf is a bundle with a log alone.
func logOf(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, nc: testkit.NATS(t), gaps: make(chan copier.Gap, 100)}
	require.NoError(t, eventlog.EnsureStream(t.Context(), b.nc, stream))
	var err error
	b.js, err = jetstream.New(b.nc)
	require.NoError(t, err)
	b.log, err = logread.New(b.nc, func() string { return stream }, nil)
	require.NoError(t, err)
	return b
}

// publish puts n messages into the log.
func (b *bundle) publish(n int) {
	b.t.Helper()
	_, last, err := b.log.Bounds(b.t.Context())
	require.NoError(b.t, err)
	for i := range n {
		body := fmt.Sprintf(`{"namespace":"default","id":"%d","type":"io.freshet.training.v1.run_started","source":"/freshet/training","data":%q}`, int(last)+i+1, strings.Repeat("x", i%97))
		_, err := b.js.Publish(b.t.Context(), "freshet.default.training.v1.run_started", []byte(body))
		require.NoError(b.t, err)
	}
}

// copier is one that does not run, with connections of its own.
func (b *bundle) copier() (*copier.Copier, *kafka.Client) {
	client := kafka.New(b.addr)
	return copier.New(b.log, client, slog.New(slog.DiscardHandler), 0, func(_ context.Context, g copier.Gap) error {
		select {
		case b.gaps <- g:
		default:
		}
		return nil
	}), client
}

// copy runs a copier of its own until stop.
func (b *bundle) copy() (c *copier.Copier, stop func()) {
	b.t.Helper()
	c, client := b.copier()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx) // ends by its context alone
	}()
	stop = func() {
		cancel()
		<-done
		client.Close()
	}
	b.t.Cleanup(stop)
	return c, stop
}

func (b *bundle) awaitCopied(c *copier.Copier) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		n, err := c.Behind(b.t.Context())
		return err == nil && n == 0
	}, 2*time.Minute, 5*time.Millisecond)
}

// messages are the log's, in order.
func (b *bundle) messages() []logread.Message {
	b.t.Helper()
	_, last, err := b.log.Bounds(b.t.Context())
	require.NoError(b.t, err)
	out := make([]logread.Message, 0, last)
	for seq := uint64(1); seq <= last; seq++ {
		m, err := b.log.Get(b.t.Context(), seq)
		require.NoError(b.t, err)
		out = append(out, m)
	}
	return out
}

// foreign reads the archive with a client that is not the suite's.
func (b *bundle) foreign(n int) []*kgo.Record {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ConsumeTopics(archive.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(b.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		require.NoError(b.t, ctx.Err())
		records = append(records, fetches.Records()...)
	}
	return records
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// requireCopy demands that the archive is the log: read with kafka-go and with
// franz-go, the same bytes in the same order, nothing twice.
func (b *bundle) requireCopy() {
	b.t.Helper()
	log := b.messages()
	for i, r := range b.foreign(len(log)) {
		require.Equal(b.t, string(log[i].Data), string(r.Value))
		require.Equal(b.t, strconv.Itoa(i+1), header(r, archive.HeaderSequence))
		require.Equal(b.t, stream, header(r, archive.HeaderStream))
		require.Equal(b.t, "1", header(r, archive.HeaderEpoch))
		require.Equal(b.t, archive.Digest(log[i].Data), header(r, archive.HeaderDigest))
		require.Equal(b.t, "default/"+strconv.Itoa(i+1), string(r.Key))
		require.EqualValues(b.t, 0, r.Partition)
	}
	client := kafka.New(b.addr)
	defer client.Close()
	_, end, err := client.Bounds(b.t.Context(), archive.Topic)
	require.NoError(b.t, err)
	require.EqualValues(b.t, len(log), end[0], "nothing is there twice")
	var own []kafka.Record
	for offset := int64(0); offset < end[0]; {
		records, next, err := client.Fetch(b.t.Context(), archive.Topic, 0, offset, time.Second)
		require.NoError(b.t, err)
		own, offset = append(own, records...), next
	}
	require.Len(b.t, own, len(log))
	for i, r := range own {
		require.Equal(b.t, log[i].Data, r.Value)
	}
}

func TestTheArchiveIsTheLog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(700)
	c, _ := b.copy()
	b.publish(300)
	b.awaitCopied(c)
	b.requireCopy()
	require.EqualValues(t, 1000, c.Archived())

	other, client := b.copier() // of a process that does not copy
	defer client.Close()
	behind, err := other.Behind(t.Context())
	require.NoError(t, err)
	require.Zero(t, behind)
}

func TestKillAndResume(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(400)
	for range 6 {
		c, stop := b.copy()
		b.publish(50)
		require.Eventually(t, func() bool { return c.Archived() > 0 }, time.Minute, time.Millisecond)
		stop() // wherever it is
	}
	c, _ := b.copy()
	b.awaitCopied(c)
	b.requireCopy()
}

// A broker that stores a batch and whose answer is lost: the tail says that it is
// there, so it is not sent again.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(600)
	var produced atomic.Int64
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		if produced.Add(1) <= 5 {
			b.lose.Store(true)
		}
		return nil, nil, false // served as ever
	})
	c, _ := b.copy()
	b.publish(200)
	b.awaitCopied(c)
	require.Positive(t, b.lost.Load(), "some answers were lost")
	b.requireCopy()
}

// losing cuts a broker's connection instead of writing an answer, when told to.
type losing struct {
	net.Conn
	b *bundle
}

func (c losing) Write(p []byte) (int, error) {
	if c.b.lose.CompareAndSwap(true, false) {
		c.b.lost.Add(1)
		_ = c.Close() // that is the point
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

type losingListener struct {
	net.Listener
	b *bundle
}

func (l losingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return losing{c, l.b}, nil
}

func TestABrokerThatRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(300)
	var refused atomic.Int64
	b.cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if refused.Add(1) > 4 {
			return nil, nil, false
		}
		b.cluster.KeepControl()
		return nil, fmt.Errorf("the connection is cut"), true
	})
	c, _ := b.copy()
	b.awaitCopied(c)
	b.requireCopy()
	require.Greater(t, refused.Load(), int64(4))
}

func TestAGapStopsTheCopy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(20)
	c, stop := b.copy()
	b.awaitCopied(c)
	stop()

	b.publish(10)
	s, err := b.js.Stream(t.Context(), stream)
	require.NoError(t, err)
	require.NoError(t, s.DeleteMsg(t.Context(), 25))
	c, _ = b.copy()
	require.Equal(t, copier.Gap{Sequence: 25}, <-b.gaps)
	require.EqualValues(t, 24, c.Archived(), "it copies up to the gap and never past it")
	require.Eventually(t, c.InGap, time.Minute, time.Millisecond)
}

func TestALogThatWasRestoredStopsTheCopy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish(20)
	c, stop := b.copy()
	b.awaitCopied(c)
	stop()
	digest := archive.Digest(b.messages()[19].Data)

	require.NoError(t, b.js.DeleteStream(t.Context(), stream))
	require.NoError(t, eventlog.EnsureStream(t.Context(), b.nc, stream))
	b.publish(5)
	_, stop = b.copy()
	require.Equal(t, copier.Gap{Sequence: 20, Expected: digest}, <-b.gaps, "the log is shorter than its archive")
	stop()

	for range 15 {
		_, err := b.js.Publish(t.Context(), "freshet.default.training.v1.run_started", []byte(`{"namespace":"default","id":"other"}`))
		require.NoError(t, err)
	}
	for len(b.gaps) > 0 {
		<-b.gaps
	}
	c, _ = b.copy()
	gap := <-b.gaps
	require.EqualValues(t, 20, gap.Sequence)
	require.NotEmpty(t, gap.Found, "the log has another message there")
	require.Zero(t, c.Archived())
}

package merkle_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/services/audit/internal/proof/merkle"
	"github.com/stretchr/testify/require"
)

// A bundle is an archive, what was recorded of it, and the file of a tree.
type bundle struct {
	t      *testing.T
	kafka  *kafka.Client
	clock  *clock.Driven
	key    transparency.Key
	file   string
	events int64

	mu       sync.Mutex
	recorded []events.CheckpointSigned
	stored   uint64
	advanced chan struct{}
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, kafka: testkit.Kafka(t), clock: testkit.Clock(), file: filepath.Join(t.TempDir(), "hashes"), events: 1000, advanced: make(chan struct{})}
	require.NoError(t, b.kafka.Ensure(t.Context(), archive.Topic, 1))
	var err error
	b.key, err = transparency.NewKey("example.com/log")
	require.NoError(t, err)
	return b
}

// message is what store puts at a sequence.
func message(sequence uint64, typ, payload string) []byte {
	return fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/freshet/audit","type":"%s","data":%q}`, sequence, typ, payload)
}

// store puts messages of a type into the archive.
func (b *bundle) store(n int, typ, payload string) {
	b.t.Helper()
	for range n {
		b.mu.Lock()
		b.stored++
		sequence := b.stored
		b.mu.Unlock()
		data := message(sequence, typ, payload)
		require.NoError(b.t, b.kafka.Produce(b.t.Context(), archive.Topic, kafka.Record{Value: data, Headers: []kafka.Header{
			{Key: archive.HeaderSequence, Value: strconv.AppendUint(nil, sequence, 10)}, {Key: archive.HeaderDigest, Value: []byte(archive.Digest(data))}}}))
	}
	b.more()
}

// more tells that there is something new.
func (b *bundle) more() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.advanced)
	b.advanced = make(chan struct{})
}

func (b *bundle) checkpoints() []events.CheckpointSigned {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]events.CheckpointSigned(nil), b.recorded...)
}

// run follows the archive until stop; a recorded checkpoint becomes a message.
func (b *bundle) run() (l *merkle.Log, stop func()) {
	b.t.Helper()
	return b.runWith(b.file, nil)
}

// runWith is run with a file for the tree, and with who signs.
func (b *bundle) runWith(file string, sign func() bool) (l *merkle.Log, stop func()) {
	b.t.Helper()
	tree, err := transparency.OpenTree(file)
	require.NoError(b.t, err)
	l = merkle.New(merkle.Options{
		Archive: archive.New(b.kafka), Tree: tree, Key: b.key, Clock: b.clock, Logger: slog.New(slog.DiscardHandler), Events: b.events, Every: time.Hour, Sign: sign,
		Archived: func() uint64 { b.mu.Lock(); defer b.mu.Unlock(); return b.stored },
		Advanced: func() <-chan struct{} { b.mu.Lock(); defer b.mu.Unlock(); return b.advanced },
		Newest: func(context.Context) (events.CheckpointSigned, error) {
			if all := b.checkpoints(); len(all) > 0 {
				return all[len(all)-1], nil
			}
			return events.CheckpointSigned{}, nil
		},
		Record: func(_ context.Context, c events.CheckpointSigned) error {
			b.mu.Lock()
			b.recorded = append(b.recorded, c)
			b.mu.Unlock()
			b.store(1, events.TypeCheckpointSigned, "")
			return nil
		},
	})
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx) // ends by its context alone
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
		require.NoError(b.t, tree.Close())
	})
	b.t.Cleanup(stop)
	return l, stop
}

func (b *bundle) await(l *merkle.Log, size int64) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return l.Size() == size }, time.Minute, time.Millisecond)
}

func TestACheckpointIsDueByNumberAndByTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.events = 10
	l, _ := b.run()
	b.store(9, events.TypeRunStarted, "")
	b.await(l, 9)
	require.Empty(t, b.checkpoints())
	b.store(1, events.TypeRunStarted, "")
	b.await(l, 11)
	require.Len(t, b.checkpoints(), 1)
	require.EqualValues(t, 10, b.checkpoints()[0].Size)
	c, key, err := transparency.OpenCheckpoint(b.checkpoints()[0].Note, b.key.Public())
	require.NoError(t, err)
	require.Equal(t, b.key.Public(), key)
	require.EqualValues(t, 10, c.Size)
	require.Equal(t, b.checkpoints()[0].Root, fmt.Sprintf("sha256:%x", c.Root[:]))

	// Its own event is nothing new, whatever the time and whoever asks.
	b.clock.Set(b.clock.Now().Add(100 * time.Hour))
	again, err := l.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 10, again.Size)
	require.Len(t, b.checkpoints(), 1)

	// A message that only speaks of checkpoints is new, and waits an hour at most.
	b.store(1, events.TypeRunStarted, `"type":"io.freshet.audit.v1.checkpoint_signed"`)
	b.await(l, 12)
	require.Len(t, b.checkpoints(), 1)
	b.clock.Set(b.clock.Now().Add(time.Hour))
	require.Eventually(t, func() bool { return len(b.checkpoints()) == 2 }, time.Minute, time.Millisecond)
	require.EqualValues(t, 12, b.checkpoints()[1].Size)
	b.store(1, events.TypeRunStarted, "")
	asked, err := l.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 14, asked.Size, "who asks does not wait")
}

func TestEveryMessageUnderACheckpointIsProven(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(70, events.TypeRunStarted, "")
	l, _ := b.run()
	c, err := l.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 70, c.Size)
	require.NoError(t, archive.New(b.kafka).Read(t.Context(), 1, 70, func(batch []archive.Record) error {
		for _, r := range batch {
			hashes, err := l.Prove(int64(r.Sequence), r.Data, c)
			require.NoError(t, err)
			_, _, err = transparency.Proof{Index: int64(r.Sequence) - 1, Hashes: hashes, Checkpoint: c.Note}.Check(r.Data, b.key.Public())
			require.NoError(t, err)
		}
		return nil
	}))
	_, err = l.Prove(71, nil, c)
	require.ErrorIs(t, err, merkle.ErrUncovered)
	_, err = l.Prove(3, message(3, events.TypeRunStarted, "changed"), c)
	require.ErrorIs(t, err, merkle.ErrAltered, "nobody signed these bytes")
}

// The file follows from the archive: gone, cut, damaged or another's, it is made again.
func TestTheTreesFileIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(40, events.TypeRunStarted, "")
	l, stop := b.run()
	_, err := l.Checkpoint(t.Context())
	require.NoError(t, err)
	b.await(l, 41)
	stop()
	whole, err := os.ReadFile(b.file)
	require.NoError(t, err)
	other := transparency.NewTree()
	require.NoError(t, other.Append([]byte("x")))
	damaged := append([]byte(nil), whole...)
	damaged[0] ^= 1
	flipped := append([]byte(nil), whole...)
	for i := range flipped {
		flipped[i] ^= 0xff
	}
	for name, content := range map[string][]byte{"gone": nil, "cut": whole[:len(whole)/2], "as it was": whole, "damaged below": damaged, "another's": flipped} {
		if content == nil {
			require.NoError(t, os.Remove(b.file))
		} else {
			require.NoError(t, os.WriteFile(b.file, content, 0o600))
		}
		l, stop := b.run()
		b.store(1, events.TypeRunStarted, "")
		c, err := l.Checkpoint(t.Context())
		require.NoError(t, err, name)
		require.False(t, l.Altered(), name)
		// Damage below what a root depends on is found by a proof, and repaired then.
		require.Eventually(t, func() bool { _, err = l.Prove(3, message(3, events.TypeRunStarted, ""), c); return err == nil }, time.Minute, time.Millisecond, name)
		b.await(l, c.Size+1)
		stop()
	}
	roots := map[int64]string{}
	for _, c := range b.checkpoints() {
		require.Empty(t, roots[c.Size], "each size is signed once")
		roots[c.Size] = c.Root
	}
}

// An archive that is not what was signed is told, and nothing more is signed.
func TestAnAlteredArchive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(20, events.TypeRunStarted, "")
	l, stop := b.run()
	c, err := l.Checkpoint(t.Context())
	require.NoError(t, err)
	b.await(l, 21)
	stop()
	require.NoError(t, os.Remove(b.file))

	other := setup(t) // the same messages but for one
	other.store(11, events.TypeRunStarted, "")
	other.store(1, events.TypeRunStarted, "changed")
	other.store(8, events.TypeRunStarted, "")
	other.key, other.recorded = b.key, []events.CheckpointSigned{c}
	l, _ = other.run()
	require.Eventually(t, l.Altered, time.Minute, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = l.Checkpoint(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, other.checkpoints(), 1)

	// A record that its own digest does not name, and a gap, are told before anything
	// is signed over them.
	for name, headers := range map[string][]kafka.Header{
		"another digest": {{Key: archive.HeaderSequence, Value: []byte("22")}, {Key: archive.HeaderDigest, Value: []byte(archive.Digest(nil))}},
		"a gap":          {{Key: archive.HeaderSequence, Value: []byte("23")}, {Key: archive.HeaderDigest, Value: []byte(archive.Digest([]byte("{}")))}},
	} {
		forged := setup(t)
		forged.store(20, events.TypeRunStarted, "")
		l, _ = forged.run()
		c, err := l.Checkpoint(t.Context())
		require.NoError(t, err)
		forged.await(l, 21)
		_, err = l.Prove(3, message(3, events.TypeRunStarted, ""), c)
		require.NoError(t, err)
		require.NoError(t, forged.kafka.Produce(t.Context(), archive.Topic,
			kafka.Record{Value: []byte("{}"), Headers: append(headers, kafka.Header{Key: "by", Value: []byte("somebody")})}))
		forged.more()
		require.Eventually(t, l.Altered, time.Minute, time.Millisecond, name)
		_, err = l.Prove(3, message(3, events.TypeRunStarted, ""), c)
		require.ErrorIs(t, err, merkle.ErrAltered, "not even what an older checkpoint is over")
		_, err = l.ProveGrowth(10, 20)
		require.ErrorIs(t, err, merkle.ErrAltered)
	}

	short := setup(t)
	short.store(19, events.TypeRunStarted, "")
	short.key, short.recorded = b.key, []events.CheckpointSigned{c}
	l, _ = short.run()
	require.Eventually(t, l.Altered, time.Minute, time.Millisecond)
}

// An archive that was cut is not well until what it had is there again.
func TestAnArchiveThatWasCut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(20, events.TypeRunStarted, "")
	l, stop := b.run()
	c, err := l.Checkpoint(t.Context())
	require.NoError(t, err)
	b.await(l, 21)
	require.NoError(t, l.Failing(t.Context()))
	stop()

	for name, file := range map[string]string{"the tree has it": b.file, "the tree is gone": filepath.Join(t.TempDir(), "tree")} {
		cut := setup(t)
		cut.store(12, events.TypeRunStarted, "")
		cut.key, cut.recorded, cut.file = b.key, []events.CheckpointSigned{c}, file
		l, stop = cut.run()
		require.Eventually(t, func() bool { return errors.Is(l.Failing(t.Context()), merkle.ErrShort) }, time.Minute, time.Millisecond, name)
		cut.store(8, events.TypeRunStarted, "") // again
		require.Eventually(t, func() bool { return l.Failing(t.Context()) == nil }, time.Minute, time.Millisecond, name)
		require.False(t, l.Altered(), name)
		require.EqualValues(t, 20, l.Size(), name)
		stop()
	}
}

// A process that does not sign proves under what another one signed, and signs nothing
// twice when it takes over.
func TestAnotherProcessSigns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l, stop := b.run()
	var signs atomic.Bool
	other, _ := b.runWith(filepath.Join(t.TempDir(), "hashes"), signs.Load)
	var newest events.CheckpointSigned
	for range 2 {
		b.store(5, events.TypeRunStarted, "")
		c, err := l.Checkpoint(t.Context())
		require.NoError(t, err)
		require.Eventually(t, func() bool { return other.Newest() == c }, time.Minute, time.Millisecond)
		_, err = other.Prove(c.Size, message(uint64(c.Size), events.TypeRunStarted, ""), c)
		require.NoError(t, err)
		newest = c
	}
	b.await(other, newest.Size+1)
	stop()
	signs.Store(true)
	again, err := other.Checkpoint(t.Context())
	require.NoError(t, err)
	require.Equal(t, newest, again, "nothing but its event came since")
	require.Len(t, b.checkpoints(), 2)
}

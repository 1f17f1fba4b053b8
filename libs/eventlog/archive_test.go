package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// archived copies messages of the log into the archive, as they are or altered.
func archived(t *testing.T, l *Log, client *kafka.Client, from, to uint64, alter func(sequence uint64, data []byte) []byte) {
	t.Helper()
	for n := from; n <= to; n++ {
		k, err := l.sessions.Current()
		require.NoError(t, err)
		m, err := l.source.MessageAt(t.Context(), k, n)
		require.NoError(t, err)
		if alter != nil {
			m.Data = alter(n, m.Data)
		}
		require.NoError(t, client.Produce(t.Context(), archive.Topic, archive.NewRecord(stream, n, m.Subject, m.Data, time.Time{})))
	}
}

// emptyArchive is a Kafka with the archive's topic.
func emptyArchive(t *testing.T) *kafka.Client {
	t.Helper()
	server, err := kafkaserver.Start(kafkaserver.Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	client := kafka.New(server.Addr())
	t.Cleanup(client.Close)
	require.NoError(t, client.Ensure(t.Context(), archive.Topic, 1))
	return client
}

// openArchived opens a log that has the archive of a client.
func (w *world) openArchived(client *kafka.Client, f *Fold) (*Log, error) {
	w.t.Helper()
	o := w.options(f)
	o.Archive = archive.New(client)
	return Open(context.Background(), o)
}

func TestAReplayReadsTheArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	client := emptyArchive(t)
	l, err := w.openArchived(client, counts("adder"))
	require.NoError(t, err)
	stop := run(t, l)
	var facts []Fact
	for i := range 40 {
		facts = append(facts, fact("adder.added", fmt.Sprint(i%3), i))
	}
	_, err = l.RecordAndWait(ctx, facts...)
	require.NoError(t, err)
	settle(t, l)
	_, err = l.Verify(ctx, FromArchive, nil)
	require.ErrorIs(t, err, ErrNoArchive, "it is empty")
	archived(t, l, client, 1, 30, nil)
	archived(t, l, client, 29, 60, nil) // two are duplicates
	for _, from := range []Origin{FromLog, FromArchive} {
		report, err := l.Verify(ctx, from, nil)
		require.NoError(t, err, from)
		require.True(t, report.Equal, "%s %+v", from, report.Difference)
		require.EqualValues(t, 80, report.Events)
	}
	// What is trimmed in the log is read from the archive, whatever was asked for.
	js, err := w.connect().JetStream()
	require.NoError(t, err)
	require.NoError(t, js.PurgeStream(stream, &nats.StreamPurgeRequest{Sequence: 51}))
	report, err := l.Verify(ctx, FromLog, nil)
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report.Difference)
	before := w.dump("adder", "sums")
	_, err = l.Rebuild(ctx, FromLog, nil)
	require.NoError(t, err)
	require.Equal(t, before, w.dump("adder", "sums"))
	for _, until := range []uint64{20, 60} {
		trial, err := l.Trial(ctx, until)
		require.NoError(t, err)
		require.Equal(t, until, trial.Position())
		require.NoError(t, trial.Close(ctx))
	}
	stop()

	// A service that is new to a trimmed log begins in the archive too.
	again := &world{t: t, url: databaseURL(t), nats: w.nats, clock: w.clock}
	late, err := again.openArchived(client, counts("late"))
	require.NoError(t, err)
	run(t, late)
	settle(t, late)
	require.EqualValues(t, 81, late.engine.Position(), "and service_activated")
	trial, err := late.Trial(ctx, 0)
	require.NoError(t, err)
	added := draft("late.added", "0", payload{N: 1})
	added.SetID("added")
	added.SetTime(w.clock.Now())
	step, err := trial.Step(ctx, added, 80)
	require.NoError(t, err)
	require.Empty(t, step.Decisions, "of what came before it the service decided nothing")
	added.SetID("later")
	step, err = trial.Step(ctx, added, 82)
	require.NoError(t, err)
	require.Len(t, step.Decisions, 1)
	require.NoError(t, trial.Close(ctx))

	// Where neither has an event, nothing is skipped.
	require.NoError(t, js.PurgeStream(stream, &nats.StreamPurgeRequest{Sequence: 71}))
	third := &world{t: t, url: databaseURL(t), nats: w.nats, clock: w.clock}
	_, err = third.openArchived(client, counts("third"))
	require.ErrorIs(t, err, ErrAlarm)
	require.ErrorContains(t, err, "event 61 is neither in the archive nor in the log")
}

// summedWith runs a fold as summed does, with an archive.
func summedWith(t *testing.T, w *world, a *archive.Reader, events int) *Log {
	t.Helper()
	_, stop := summed(t, w, events)
	stop()
	o := w.options(counts("adder"))
	o.Archive = a
	l, err := Open(t.Context(), o)
	require.NoError(t, err)
	run(t, l)
	settle(t, l)
	require.Eventually(t, l.lease.Leading, stallLimit, pollTest, "it has tidied up after replays that were killed")
	return l
}

func TestAChangedRecordOfTheArchiveIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	client := emptyArchive(t)
	l := summedWith(t, w, archive.New(client), 10)
	archived(t, l, client, 1, 20, func(sequence uint64, data []byte) []byte {
		if sequence != 5 {
			return data
		}
		changed := bytes.Replace(data, []byte(`"n":4`), []byte(`"n":5`), 1)
		require.NotEqual(t, data, changed)
		return changed
	})
	report, err := l.Verify(ctx, FromArchive, nil)
	require.NoError(t, err)
	require.False(t, report.Equal)
	require.EqualValues(t, 5, report.Difference.Sequence, "%+v", report.Difference)
	_, err = w.open(counts("adder")).Verify(ctx, FromArchive, nil)
	require.ErrorIs(t, err, ErrNoArchive)
}

// An interruption answers with what it has of a fetch, then once with an error.
type interruption struct {
	*kafka.Client
	fetches int
}

func (h *interruption) Fetch(ctx context.Context, topic string, partition int, offset int64, maxWait time.Duration) ([]kafka.Record, int64, error) {
	h.fetches++
	records, next, err := h.Client.Fetch(ctx, topic, partition, offset, maxWait)
	switch h.fetches {
	case 3: // after the tail and the place to begin at
		return records[:5], records[4].Offset + 1, err
	case 4:
		return nil, 0, errors.New("it is away")
	}
	return records, next, err
}

func TestTheArchiveIsReadOnFromWhatWasDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	client := emptyArchive(t)
	l := summedWith(t, w, archive.New(&interruption{Client: client}), 10)
	archived(t, l, client, 1, 20, nil)
	var got []uint64
	out := func(c source.Chunk) error {
		for _, v := range c {
			got = append(got, v.Stream)
		}
		return nil
	}
	next, err := l.source.Archived(ctx, 1, 20, out)
	require.ErrorContains(t, err, "it is away")
	next, err = l.source.Archived(ctx, next, 20, out)
	require.NoError(t, err)
	require.EqualValues(t, 21, next)
	require.Len(t, got, 20)
	for i, sequence := range got {
		require.EqualValues(t, i+1, sequence)
	}
}

package archive_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/stretchr/testify/require"
)

func client(t *testing.T) *kafka.Client {
	t.Helper()
	server, err := kafkaserver.Start(kafkaserver.Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	c := kafka.New(server.Addr())
	t.Cleanup(c.Close)
	return c
}

func record(sequence int) kafka.Record {
	data := []byte(fmt.Sprintf(`{"n":%d}`, sequence))
	return kafka.Record{Value: data, Headers: []kafka.Header{
		{Key: archive.HeaderStream, Value: []byte("FRESHET_1")}, {Key: archive.HeaderEpoch, Value: []byte("1")},
		{Key: archive.HeaderSequence, Value: []byte(strconv.Itoa(sequence))}, {Key: archive.HeaderDigest, Value: []byte(archive.Digest(data))},
	}}
}

func store(t *testing.T, c *kafka.Client, sequences ...int) {
	t.Helper()
	for _, n := range sequences {
		require.NoError(t, c.Produce(t.Context(), archive.Topic, record(n)))
	}
}

func read(t *testing.T, r *archive.Reader, from, to uint64) (out []uint64, err error) {
	t.Helper()
	err = r.Read(t.Context(), from, to, func(batch []archive.Record) error {
		for _, one := range batch {
			require.Equal(t, fmt.Sprintf(`{"n":%d}`, one.Sequence), string(one.Data))
			out = append(out, one.Sequence)
		}
		return nil
	})
	return out, err
}

func TestReadsEachSequenceOnceAlsoWhereSomeWereStoredTwice(t *testing.T) {
	t.Parallel()
	c := client(t)
	r := archive.New(c)
	tail, err := r.Tail(t.Context())
	require.NoError(t, err)
	require.Zero(t, tail, "there is no topic")
	require.NoError(t, c.Ensure(t.Context(), archive.Topic, 1))
	tail, err = r.Tail(t.Context())
	require.NoError(t, err)
	require.Zero(t, tail)
	store(t, c, 1, 2, 3, 4, 3, 4, 5, 6, 5, 6, 7, 8, 9)
	tail, err = r.Tail(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 9, tail.Sequence)
	require.Equal(t, "1", tail.Epoch)
	for from := uint64(1); from <= 9; from++ {
		for to := from; to <= 9; to++ {
			var want []uint64
			for n := from; n <= to; n++ {
				want = append(want, n)
			}
			got, err := read(t, r, from, to)
			require.NoError(t, err, "%d to %d", from, to)
			require.Equal(t, want, got)
		}
	}
	one, err := r.Get(t.Context(), 6)
	require.NoError(t, err)
	require.EqualValues(t, 6, one.Sequence)
	_, err = read(t, r, 8, 10)
	require.ErrorIs(t, err, archive.ErrMissing)
	_, err = r.Get(t.Context(), 30)
	require.ErrorIs(t, err, archive.ErrMissing)
	stop := errors.New("enough")
	require.ErrorIs(t, r.Read(t.Context(), 1, 9, func([]archive.Record) error { return stop }), stop)
}

func TestWhatIsMissingOrForeignIsTold(t *testing.T) {
	t.Parallel()
	c := client(t)
	require.NoError(t, c.Ensure(t.Context(), archive.Topic, 1))
	r := archive.New(c)
	store(t, c, 1, 2, 4, 5)
	got, err := read(t, r, 1, 5)
	require.ErrorIs(t, err, archive.ErrMissing)
	require.ErrorContains(t, err, "from 2 to 4")
	require.Empty(t, got)
	_, err = r.Get(t.Context(), 3)
	require.ErrorIs(t, err, archive.ErrMissing)

	changed := record(6)
	changed.Value = []byte(`{"n":7}`)
	require.NoError(t, c.Produce(t.Context(), archive.Topic, changed))
	_, err = r.Tail(t.Context())
	require.ErrorIs(t, err, archive.ErrForeign)
	_, err = read(t, r, 4, 6)
	require.ErrorIs(t, err, archive.ErrForeign)
}

func TestATopicOfSomebodyElse(t *testing.T) {
	t.Parallel()
	c := client(t)
	require.NoError(t, c.Ensure(t.Context(), archive.Topic, 1))
	require.NoError(t, c.Produce(t.Context(), archive.Topic, kafka.Record{Value: []byte("hello")}))
	_, err := archive.New(c).Tail(t.Context())
	require.ErrorIs(t, err, archive.ErrForeign)
}

func TestALongArchiveIsReadFromAnywhere(t *testing.T) {
	t.Parallel()
	c := client(t)
	require.NoError(t, c.Ensure(t.Context(), archive.Topic, 1))
	const n = 5000
	var all []kafka.Record
	for i := 1; i <= n; i++ {
		all = append(all, record(i))
		if i%700 == 0 {
			all = append(all, record(i-1), record(i))
		}
	}
	require.NoError(t, c.Produce(t.Context(), archive.Topic, all...))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := archive.New(c)
	for _, from := range []uint64{1, 699, 700, 701, 2500, 4999, 5000} {
		one, err := r.Get(ctx, from)
		require.NoError(t, err)
		require.Equal(t, from, one.Sequence)
	}
	got, err := read(t, r, 650, n)
	require.NoError(t, err)
	require.Len(t, got, n-649)
}

// A record that was made of a message is read as that message; its key names the tenant.
func TestARecordIsReadAsItWasMade(t *testing.T) {
	t.Parallel()
	at := time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC)
	const subject = "freshet.team.console.v1.note_added"
	for data, key := range map[string]string{
		`{"namespace":"team","id":"e1","type":"io.freshet.console.v1.note_added","source":"/freshet/console"}`: "team/e1",
		`not an event`: "/" + subject,
		`{"namespace":"/a","id":"e1","type":"io.freshet.console.v1.note_added","source":"/freshet/console"}`: "/" + subject,
		`{}`: "/" + subject,
		`{"namespace":"team","id":"e1","type":"io.freshet.console.v1.other","source":"/freshet/console"}`:       "/" + subject,
		`{"namespace":"team","id":"e1","type":"io.freshet.console.v1.note_added","source":"/freshet/registry"}`: "/" + subject,
	} {
		made := archive.NewRecord("FRESHET_3", 7, subject, []byte(data), at)
		require.Equal(t, archive.Topic, made.Topic)
		r, err := archive.Parse(made)
		require.NoError(t, err)
		require.Equal(t, archive.Record{Sequence: 7, Epoch: "3", Digest: archive.Digest([]byte(data)), Data: []byte(data), Key: []byte(key), Time: at}, r)
	}
}

package online

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestBatchesThatNoWindowSeesAreForgotten(t *testing.T) {
	t.Parallel()
	pool := testkit.Postgres(t)
	_, err := pool.Exec(t.Context(), `CREATE TABLE pushes (first_offset bigint PRIMARY KEY, next_offset bigint NOT NULL, newest timestamptz NOT NULL)`)
	require.NoError(t, err)
	c := testkit.Clock()
	s := New(Options{Pool: pool, Clock: c, Idle: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	s.catalog.Store(&Catalog{spaces: map[string]*space{"default": {datasets: map[string]*events.DatasetSpec{"d": {Dataset: "d", Time: "date"}}}}})
	offset := int64(-1)
	push := func(at time.Time) {
		offset++
		e := event.New()
		e.SetID(uuid.NewString())
		e.SetType(RowsType)
		e.SetSource("/freshet/feature-store")
		e.SetSubject("d")
		e.SetTime(c.Now())
		e.SetExtension("namespace", "default")
		require.NoError(t, e.SetData("application/json", json.RawMessage("{}")))
		value, headers, err := events.EncodeKafka(e)
		require.NoError(t, err)
		r := kafka.Record{Offset: offset, Key: []byte("default/d"), Value: value}
		for k, v := range headers {
			r.Headers = append(r.Headers, kafka.Header{Key: k, Value: []byte(v)})
		}
		seen := make(chan error, 1)
		s.pushes.waiting.Store(e.ID(), &sender{&parquet.Table{Rows: 1,
			Columns: []parquet.Column{{Name: "date", Kind: parquet.Time, Times: []int64{at.UnixMicro()}}}}, seen})
		require.NoError(t, s.pushes.apply(t.Context(), []kafka.Record{r}))
		require.NoError(t, <-seen)
	}
	kept := func() []int64 {
		rows, err := pool.Query(t.Context(), `SELECT first_offset FROM pushes ORDER BY first_offset`)
		require.NoError(t, err)
		offsets, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		require.NoError(t, err)
		return offsets
	}
	push(c.Now().Add(-30 * 24 * time.Hour))
	require.Equal(t, []int64{0}, kept(), "the last one says where to go on")
	push(c.Now())
	push(c.Now().Add(1000 * 24 * time.Hour))
	require.Equal(t, []int64{1, 2}, kept())
	c.Set(c.Now().Add(3 * 24 * time.Hour))
	push(c.Now())
	require.Equal(t, []int64{3}, kept(), "a row of the far future holds nothing")
}

package demo

import (
	"bytes"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/stretchr/testify/require"
)

func TestWorldShowsAFlightOnlyWhenItIsKnown(t *testing.T) {
	t.Parallel()
	w, err := loadWorld(firstDay, 2)
	require.NoError(t, err)
	require.Len(t, w.byDate, 14872+16339)
	ids := map[string]bool{}
	for at := firstDay; at.Before(firstDay.AddDate(0, 0, 2)); at = at.Add(step) {
		for _, f := range w.becameKnown(at, at.Add(step)) {
			require.False(t, ids[f.id], "%s became known twice", f.id)
			ids[f.id] = true
			require.False(t, f.date.After(at.Add(step)), "%s is known before it left", f.id)
			if f.delay > 0 {
				require.Equal(t, f.date.Add(time.Duration(f.delay)*time.Minute), f.known())
			}
		}
		for _, f := range w.leaving(at, at.Add(step)) {
			require.False(t, f.date.Before(at))
			require.True(t, f.date.Before(at.Add(step)))
		}
	}
}

func TestProducersFileHoldsItsFlights(t *testing.T) {
	t.Parallel()
	w, err := loadWorld(firstDay, 1)
	require.NoError(t, err)
	sent := w.becameKnown(firstDay, firstDay.AddDate(0, 0, 1))
	raw, err := parquetOf(sent)
	require.NoError(t, err)
	table, err := parquet.ReadFrom(bytes.NewReader(raw))
	require.NoError(t, err)
	require.Equal(t, len(sent), table.Rows)
	for i, f := range sent {
		require.Equal(t, f.id, table.Column("flight_id").Strings[i])
		require.Equal(t, f.delay, table.Column("delay").Ints[i])
		require.Equal(t, f.date.UnixMicro(), table.Column("date").Times[i])
	}
}

package lineage_test

import (
	"context"
	"math"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/past/lineage"
	"github.com/freshet-io/freshet/services/audit/internal/state"
	"github.com/stretchr/testify/require"
)

// dense is an index in which few events have many edges: e1 depends on 150 others, each of
// them on the same ones; so many events as $1 says after a version rest on it.
const dense = `
INSERT INTO events SELECT 'default', 'e' || i, 1000 - i, 'io.freshet.x.v1.t', '/freshet/x', 's', 'r', '', i, 1, '', '2001-01-06'::timestamptz, '{}'
	FROM generate_series(1, 251) i;
INSERT INTO edges SELECT 'default', 'e1', 'e' || i, 'contributor' FROM generate_series(2, 151) i;
INSERT INTO edges SELECT 'default', 'e' || i, 'e' || j, 'contributor' FROM generate_series(2, 151) i, generate_series(152, 251) j WHERE (i + j) % 100 < 66;
`

// busy is a version, and ten thousand alerts and more that are about it.
const busy = `
INSERT INTO events SELECT 'default', 'a' || i, 2000 + i, 'io.freshet.monitoring.v1.alert_raised', '/freshet/monitoring', 's', 'q', '', i, 1, '',
	'2001-01-06'::timestamptz, '{}' FROM generate_series(0, 10001) i;
INSERT INTO links VALUES ('default', 'version', 'm@1', 'a0');
INSERT INTO edges SELECT 'default', 'a' || i, 'a0', 'version' FROM generate_series(1, 10001) i;
`

// unreadable is a log that nothing is left of: the index alone tells.
type unreadable struct{}

func (unreadable) Find(context.Context, uint64, string) (logread.Message, error) {
	return logread.Message{}, logread.ErrMissing
}

// loose reads events that no service recorded.
type loose struct{ events.Codec }

func (loose) Decode(b []byte) (event.Event, error) { return events.DecodeStructured(b) }

// one is a log in which every event is about version 1 of m.
type one struct{}

func (one) Find(_ context.Context, sequence uint64, id string) (logread.Message, error) {
	return logread.Message{Sequence: sequence, Data: []byte(`{"specversion":"1.0","id":"` + id +
		`","source":"/x","type":"t","data":{"model":"m","version":1}}`)}, nil
}

// What one step cannot hold is said to be missing, where everything before it was told.
func TestAnExplanationSaysWhatItLeftOut(t *testing.T) {
	t.Parallel()
	pool := testkit.Postgres(t)
	_, err := pool.Exec(t.Context(), state.Tables+dense)
	require.NoError(t, err)
	x := lineage.New(pool, unreadable{}, events.Codec{}, nil)
	a, err := x.Why(t.Context(), "default", "e1", math.MaxInt64)
	require.NoError(t, err)
	require.Len(t, a.Nodes, 251)
	require.Len(t, a.Edges, 150+150*66)
	require.False(t, a.Truncated)

	_, err = pool.Exec(t.Context(), `INSERT INTO edges SELECT 'default', 'e' || i, 'e' || j, 'view' FROM generate_series(2, 51) i, generate_series(152, 161) j`)
	require.NoError(t, err)
	a, err = x.Why(t.Context(), "default", "e1", math.MaxInt64)
	require.NoError(t, err)
	require.Len(t, a.Edges, 150+10_000)
	require.True(t, a.Truncated)

	_, err = pool.Exec(t.Context(), busy)
	require.NoError(t, err)
	x = lineage.New(pool, one{}, loose{}, nil)
	a, err = x.Why(t.Context(), "default", "m@1", math.MaxInt64)
	require.NoError(t, err)
	require.True(t, a.Truncated, "what was done with the version may be behind its alerts")
	_, err = x.Behind(t.Context(), "default", []state.Entry{{Namespace: "default", ID: "a0", Sequence: 2000}}, 20_000)
	require.ErrorIs(t, err, state.ErrTooMany)
}

package asof_test

import (
	"testing"

	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/services/audit/internal/past/asof"
	"github.com/freshet-io/freshet/services/audit/internal/state"
	"github.com/stretchr/testify/require"
)

// three of each kind: the first by name came last.
const three = `
INSERT INTO past SELECT 'default', 'alert', 'a' || i, 1, 9223372036854775807, 'm', 'e', now(),
	jsonb_build_object('alert', 'a' || i, 'model', 'm', 'raised', '2001-01-0' || 9 - i || 'T00:00:00Z') FROM generate_series(1, 3) i;
INSERT INTO past SELECT 'default', 'approval', 'p' || i, 1, 9223372036854775807, 'm', 'e', now(),
	jsonb_build_object('version', i, 'model', 'm', 'since', '2001-01-0' || 9 - i || 'T00:00:00Z') FROM generate_series(1, 3) i;
INSERT INTO past VALUES ('default', 'model', 'm', 1, 9223372036854775807, 'm', 'e', now(), '{"model": "m", "dataset": "d3"}');
INSERT INTO past SELECT 'default', 'dataset', 'd' || i, 1, 9223372036854775807, '', 'e', now(), jsonb_build_object('dataset', 'd' || i)
	FROM generate_series(1, 3) i;
`

// What does not fit is what came last, and the answer says that it is not all.
func TestWhatWaitsForLongestIsTold(t *testing.T) {
	t.Parallel()
	pool := testkit.Postgres(t)
	_, err := pool.Exec(t.Context(), state.Tables+three)
	require.NoError(t, err)
	told := func(items []asof.Item, key string) (out []any) {
		for _, i := range items {
			out = append(out, i[key])
		}
		return out
	}
	a, err := asof.At(t.Context(), pool, "default", "now", "", 1, 2)
	require.NoError(t, err)
	require.Equal(t, []any{"a3", "a2"}, told(a.Alerts, "alert"))
	require.Equal(t, []any{"2001-01-06T00:00:00Z", "2001-01-07T00:00:00Z"}, told(a.Approvals, "since"))
	require.Equal(t, []any{"2001-01-06T00:00:00Z"}, told(a.Models, "waiting_since"), "the longest wait, whatever its name")
	require.Len(t, a.Datasets, 2)
	require.True(t, a.Truncated)

	a, err = asof.At(t.Context(), pool, "default", "now", "m", 1, 2)
	require.NoError(t, err)
	require.Equal(t, []any{"d3"}, told(a.Datasets, "dataset"), "what a model is made of is not crowded out by what it is not")

	a, err = asof.At(t.Context(), pool, "default", "now", "", 1, 3)
	require.NoError(t, err)
	require.Len(t, a.Alerts, 3)
	require.False(t, a.Truncated)
}

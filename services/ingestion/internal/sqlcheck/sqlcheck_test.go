package sqlcheck

import (
	"testing"

	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/stretchr/testify/require"
)

func TestReadsSQLAsDuckDBDoes(t *testing.T) {
	t.Parallel()
	engine, err := duckdb.Open(t.Context(), duckdb.Options{Threads: 1})
	require.NoError(t, err)
	c := New(engine)
	t.Cleanup(func() { require.NoError(t, c.Close()) })

	for _, good := range []string{"delay > 15", "avg((delay > 15)::int)", "date + to_minutes(greatest(delay, 0))", "sin(2 * pi() * hour(date) / 24)",
		"1 -- why", "count(*) filter (where delay > 0)"} {
		require.NoError(t, c.Expression(good), good)
	}
	for _, bad := range []string{"delay >", "delay > 15)", "a), (b", "a) FROM data WHERE (1", "a; SELECT 1", "SELECT 1", "(SELECT max(x) FROM other)",
		"avg(delay", "1) FROM read_csv('/etc/passwd') --", "1) FROM data LIMIT (1", "a\x00"} {
		require.Error(t, c.Expression(bad), bad)
	}
	for _, good := range []string{"SELECT * FROM data WHERE a = b", "WITH x AS (SELECT * FROM data) SELECT * FROM x",
		"SELECT * FROM data d JOIN range(3) r ON true"} {
		require.NoError(t, c.Query(good), good)
	}
	for _, bad := range []string{"SELEC * FROM data", "SELECT * FROM", "DELETE FROM data", "SELECT 1; SELECT 2",
		"SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "COPY data TO '/tmp/x'", ""} {
		require.Error(t, c.Query(bad), bad)
	}
}

package state

import (
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// fill makes an index of 100,000 events: 2,000 ripples of 50, each a chain, with a commit,
// a training and changes of what stood.
const fill = `
INSERT INTO events SELECT 'default', 'e' || i, i, 'io.freshet.x.v1.t' || i % 50, '/freshet/x', 's' || i % 100, 'r' || i / 50,
	CASE WHEN i % 50 = 0 THEN '' ELSE 'e' || i - 1 END, i, i % 50, '', '2001-01-06'::timestamptz + i * interval '1 minute', '{}' FROM generate_series(1, 100000) i;
INSERT INTO moments SELECT time, sequence FROM events;
INSERT INTO edges SELECT 'default', id, causation, 'cause' FROM events WHERE causation <> '';
INSERT INTO commits SELECT 'default', 'flights', i, 'sha256:' || md5(i::text), 'e' || i * 50, i * 50, now(), i * 1000, 1000, 0, now(), now()
	FROM generate_series(1, 1999) i;
INSERT INTO uses SELECT 'default', 'flights', i, 'e' || i * 50 + 2 FROM generate_series(1, 1999) i;
INSERT INTO uses SELECT 'default', 'd' || i % 50, i, 'e' || i FROM generate_series(1, 20000) i;
INSERT INTO materialisations SELECT 'default', 'view' || v, 1, 'c' || i, i * 50 + 1, i, 1000, now(), '', now()
	FROM generate_series(1, 1999) i, generate_series(1, 5) v;
INSERT INTO past SELECT 'default', 'environment', 'production/m' || k, i * 50 + k, CASE WHEN i = 1999 THEN 9223372036854775807 ELSE (i + 1) * 50 + k END,
	'm' || k, 'e' || i * 50 + k, now(), '{"version": 1}' FROM generate_series(1, 1999) i, generate_series(1, 15) k;
INSERT INTO links SELECT 'default', 'version', 'm@' || i, 'e' || i FROM generate_series(1, 20000) i;
`

// Every question is looked up in an index of its own: what a question costs depends on its
// answer, not on how long the log is.
func TestQuestionsUseIndexes(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), testkit.PostgresURL(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	_, err = conn.Exec(t.Context(), Tables+fill+"; ANALYZE")
	require.NoError(t, err)

	events := []string{"e50002", "e50003", "e50004"}
	for name, q := range map[string]struct {
		sql  string
		args []any
	}{
		"as of a position":      {stoodSQL, []any{"default", int64(50_000), ""}},
		"as of, one model":      {stoodSQL, []any{"default", int64(50_000), "m3"}},
		"commits":               {commitsSQL, []any{"default", "flights", int64(50_000), 100}},
		"materialised":          {materialisedSQL, []any{"default", "view1", int64(1), int64(500)}},
		"position of a time":    {positionSQL, []any{time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC)}},
		"time of a position":    {timeSQL, []any{int64(50_000)}},
		"causes":                {causesSQL, []any{"default", events, 100}},
		"effects":               {effectsSQL, []any{"default", events, 100}},
		"causes in a ripple":    {rippleCausesSQL, []any{"default", []string{"r1000", "r1001"}, 100}},
		"effects in a ripple":   {rippleEffectsSQL, []any{"default", []string{"r1000", "r1001"}, 100}},
		"trainings of a commit": {trainedSQL, []any{"default", []string{"e99900"}, 100}},
		"a namespace":           {anySQL, []any{"other", []string{"io.freshet.x.v1.t3", "io.freshet.x.v1.t4"}}},
		"namespaces":            {namespacesSQL, []any{5}},
		"events":                {entriesSQL, []any{"default", events}},
		"verdicts":              {verdictsSQL, []any{"default", events, []string{"io.freshet.x.v1.t3"}}},
		"a name":                {namedSQL, []any{"default", []string{"version", "verdict"}, "m@77"}},
		"the beginning of one":  {partSQL, []any{"default", "abcdef", "abcdeg", "sha256:ab", "sha256:ac"}},
	} {
		rows, err := conn.Query(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) "+q.sql, q.args...)
		require.NoError(t, err, name)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err, name)
		plan := strings.Join(lines, "\n")
		require.NotContains(t, plan, "Seq Scan", "%s:\n%s", name, plan)
		t.Logf("%-22s %s", name, lines[len(lines)-1])
	}
}

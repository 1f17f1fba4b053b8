package sqlbatch_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "50") // of a hundred statements each; the flag asks for more of them
	flag.Parse()
	os.Exit(m.Run())
}

const mergedTables = `
	CREATE TABLE words (word text PRIMARY KEY, n bigint NOT NULL, last text NOT NULL);
	CREATE TABLE pairs (a uuid NOT NULL, b text NOT NULL, n bigint NOT NULL, PRIMARY KEY (b, a));
	CREATE TABLE ids (id uuid PRIMARY KEY, n bigint NOT NULL);
	CREATE TABLE whole (one boolean PRIMARY KEY, sum bigint NOT NULL)`

// A statement of any order and of few rows: merged or not, the tables are the same.
// A key is given as what it is, as text, and as text in another form.
func TestMergedStatementsHaveTheSameEffect(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, testkit.PostgresURL(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(ctx) })
	ids := make([]uuid.UUID, 3)
	for i := range ids {
		ids[i] = uuid.NewSHA1(uuid.NameSpaceOID, []byte{byte(i)})
	}
	statements := map[string]func(r *rapid.T) []any{}
	word := rapid.SampledFrom([]string{"", "a", "b", "1:a", "NULL", `{"`, "ä"})
	number := rapid.Int64Range(-3, 3)
	id := func(r *rapid.T) any {
		u := rapid.SampledFrom(ids).Draw(r, "id")
		return rapid.SampledFrom([]any{u, u.String(), strings.ToUpper(u.String())}).Draw(r, "as")
	}
	counted := func(r *rapid.T) []any { return []any{word.Draw(r, "word"), number.Draw(r, "n")} }
	identified := func(r *rapid.T) []any { return []any{id(r), number.Draw(r, "n")} }
	statements[`INSERT INTO words (word, n, last) VALUES ($1, $2, 'new') ON CONFLICT (word) DO UPDATE SET n = words.n + excluded.n, last = 'again'`] = counted
	statements[`INSERT INTO words (word, n, last) VALUES ($1, 2 * $2, 'kept') ON CONFLICT (word) DO NOTHING`] = counted
	statements[`UPDATE words SET n = 3 * n + $2, last = last || word WHERE word = $1 AND length(last) < 40`] = counted
	statements[`DELETE FROM words WHERE word = $1 AND n < $2`] = counted
	statements[`UPDATE words SET n = n + $1`] = func(r *rapid.T) []any { return []any{number.Draw(r, "n")} }
	statements[`INSERT INTO ids (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = 2 * ids.n + excluded.n`] = identified
	statements[`UPDATE ids SET n = 3 * n + $2 WHERE id = $1`] = identified
	statements[`DELETE FROM ids WHERE id = $1`] = func(r *rapid.T) []any { return []any{id(r)} }
	statements[`INSERT INTO pairs (a, b, n) VALUES ($1, $2, $3) ON CONFLICT (b, a) DO UPDATE SET n = 2 * pairs.n + excluded.n`] = func(r *rapid.T) []any {
		return []any{id(r), word.Draw(r, "word"), number.Draw(r, "n")}
	}
	statements[`DELETE FROM pairs WHERE a = $1 AND b = $2`] = func(r *rapid.T) []any { return []any{id(r), word.Draw(r, "word")} }
	statements[`INSERT INTO whole (one, sum) SELECT true, coalesce(sum(n), 0) + $1 FROM words ON CONFLICT (one)
		DO UPDATE SET sum = whole.sum * 2 + excluded.sum`] = func(r *rapid.T) []any {
		return []any{number.Draw(r, "n")}
	}
	// A literal that looks like what the patterns look for.
	statements[`UPDATE words SET last = 'a  $1 WHERE' WHERE word = $1`] = func(r *rapid.T) []any { return []any{word.Draw(r, "word")} }
	statements[`UPDATE words SET last = ' AND word = $2' WHERE word = $1 AND n > $2`] = counted
	texts := slices.Sorted(maps.Keys(statements))

	fill := func(schema string, b *pgx.Batch, merged bool) []string {
		_, err := conn.Exec(ctx, fmt.Sprintf("DROP SCHEMA IF EXISTS %[1]s CASCADE; CREATE SCHEMA %[1]s; SET search_path = %[1]s;", schema)+mergedTables)
		require.NoError(t, err)
		require.NoError(t, conn.DeallocateAll(ctx))
		if merged {
			tables, err := sqlbatch.Tables(ctx, conn, schema)
			require.NoError(t, err)
			b = sqlbatch.New(conn, tables).Merge(ctx, b)
		}
		require.NoError(t, conn.SendBatch(ctx, b).Close())
		var rows []string
		for _, table := range []string{"words", "pairs", "ids", "whole"} {
			r, err := conn.Query(ctx, "SELECT x::text FROM "+table+" x ORDER BY 1")
			require.NoError(t, err)
			all, err := pgx.CollectRows(r, pgx.RowTo[string])
			require.NoError(t, err)
			rows = append(append(rows, table), all...)
		}
		return rows
	}
	rapid.Check(t, func(r *rapid.T) {
		var plain, given pgx.Batch
		for range rapid.IntRange(1, 120).Draw(r, "statements") {
			sql := rapid.SampledFrom(texts).Draw(r, "sql")
			args := statements[sql](r)
			plain.Queue(sql, args...)
			given.Queue(sql, args...)
		}
		want := fill("plain", &plain, false)
		require.Equal(t, want, fill("merged", &given, true))
	})

	var many pgx.Batch
	for i := range 100 {
		many.Queue(`UPDATE ids SET n = $2 WHERE id = $1`, ids[i%len(ids)], i)
	}
	tables, err := sqlbatch.Tables(ctx, conn, "merged")
	require.NoError(t, err)
	require.Equal(t, 34, sqlbatch.New(conn, tables).Merge(ctx, &many).Len(), "33 rounds of three rows, and one more")
}

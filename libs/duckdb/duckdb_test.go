package duckdb

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T) *Session {
	t.Helper()
	e, err := Open(t.Context(), Options{Threads: 2, TempDir: t.TempDir()})
	require.NoError(t, err)
	s, err := e.Session(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func flights() *parquet.Table {
	day := time.Date(2001, 1, 19, 8, 0, 0, 0, time.UTC).UnixMicro()
	return &parquet.Table{Rows: 3, Columns: []parquet.Column{
		{Name: "flight_id", Kind: parquet.String, Strings: []string{"a", "b", "it's"}},
		{Name: "date", Kind: parquet.Time, Times: []int64{day, day + 1, day + 2}},
		{Name: "delay", Kind: parquet.Int, Ints: []int64{20, 0, 5}, Valid: []bool{true, false, true}},
		{Name: "distance", Kind: parquet.Float, Floats: []float64{1.5, 2, 3}},
		{Name: "late", Kind: parquet.Bool, Bools: []bool{true, false, false}},
	}}
}

func TestLoadAndSelectGiveTheSameColumns(t *testing.T) {
	t.Parallel()
	s := open(t)
	want := flights()
	require.NoError(t, s.Load(t.Context(), "data", want))
	got, err := s.Select(t.Context(), `SELECT * FROM data`)
	require.NoError(t, err)
	want.Columns[2].Ints[1] = 0
	require.Equal(t, want, got)
}

func TestExportIsReadBack(t *testing.T) {
	t.Parallel()
	s := open(t)
	require.NoError(t, s.Load(t.Context(), "data", flights()))
	path := filepath.Join(t.TempDir(), "out.parquet")
	n, err := s.Export(t.Context(), path, "SELECT * FROM data ORDER BY flight_id;")
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
	got, err := parquet.Read(path)
	require.NoError(t, err)
	require.Equal(t, flights().Names(), got.Names())
	require.Equal(t, flights().Column("date").Times, got.Column("date").Times)
	require.NoError(t, s.Files(t.Context(), "again", path))
	require.NoError(t, s.Seal(t.Context()))
	sum, err := s.Select(t.Context(), `SELECT sum(delay) AS s FROM again`)
	require.NoError(t, err)
	require.Equal(t, 25.0, sum.Columns[0].Number(0))
}

func TestSealedSessionLetsNothingOut(t *testing.T) {
	t.Parallel()
	s := open(t)
	secret := filepath.Join(t.TempDir(), "secret.csv")
	require.NoError(t, os.WriteFile(secret, []byte("a\n1\n"), 0o600))
	require.NoError(t, s.Load(t.Context(), "data", flights()))
	require.NoError(t, s.Seal(t.Context()))
	for _, sql := range []string{
		"SELECT * FROM read_csv('" + secret + "')",
		"SELECT * FROM '" + secret + "'",
		"SELECT * FROM read_text('/etc/passwd')",
		"SELECT * FROM glob('/*')",
		"COPY data TO '/tmp/freshet-out.csv'",
		"SET memory_limit='10GB'",
		"SET enable_external_access=true",
		"ATTACH '/tmp/freshet-x.db'",
		"INSTALL httpfs", "LOAD httpfs", "PRAGMA enable_profiling",
		"DROP TABLE data", "INSERT INTO data SELECT * FROM data", "CREATE TABLE x (a INT)",
		"SELECT 1; SELECT 2", "SELECT 1; DROP TABLE data", "", ";",
	} {
		_, err := s.Select(t.Context(), sql)
		require.Error(t, err, sql)
		var e *Error
		require.ErrorAs(t, err, &e, sql)
		require.NotContains(t, e.Message, "database/sql/driver", sql)
	}
	require.Error(t, s.Exec(t.Context(), "SET enable_external_access=true"))
	n, err := s.Select(t.Context(), "SELECT count(*) FROM data")
	require.NoError(t, err)
	require.EqualValues(t, 3, n.Columns[0].Ints[0])
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := open(t)
	require.NoError(t, s.Load(t.Context(), "data", flights()))
	for sql, kind := range map[string]Kind{
		"SELEC 1":                                  Syntax,
		"SELECT nosuch FROM data":                  Unknown,
		"SELECT * FROM nowhere":                    Unknown,
		"SELECT nosuch(1)":                         Unknown,
		"SELECT flight_id::INT FROM data":          Invalid,
		"SELECT [1,2] AS l":                        Invalid,
		"UPDATE data SET delay=1":                  Forbidden,
		"SELECT * FROM read_csv('/nosuch-file.x')": IO,
	} {
		_, err := s.Select(t.Context(), sql)
		var e *Error
		require.ErrorAs(t, err, &e, sql)
		require.Equal(t, kind, e.Kind, "%s: %s", sql, e.Message)
	}
}

func TestQueryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Select(ctx, "SELECT count(*) FROM range(100000) a, range(100000) b, range(1000) c WHERE a.range+b.range+c.range = 7")
	require.Error(t, err)
	_, err = s.Select(t.Context(), "SELECT 1")
	require.NoError(t, err)
}

func TestMemoryLimitHolds(t *testing.T) {
	t.Parallel()
	e, err := Open(t.Context(), Options{MemoryLimit: "16MiB", Threads: 1})
	require.NoError(t, err)
	require.NoError(t, e.Do(t.Context(), func(s *Session) error {
		_, err := s.Select(t.Context(), "SELECT count(*) FROM (SELECT DISTINCT hash(range) FROM range(20000000))")
		var de *Error
		require.ErrorAs(t, err, &de)
		require.Equal(t, OutOfMemory, de.Kind, de.Message)
		return nil
	}))
	_, err = Open(t.Context(), Options{MemoryLimit: "1GB'; DROP"})
	require.Error(t, err)
}

func BenchmarkSession(b *testing.B) {
	e, _ := Open(b.Context(), Options{})
	for b.Loop() {
		if err := e.Do(b.Context(), func(s *Session) error { return s.Seal(b.Context()) }); err != nil {
			b.Fatal(err)
		}
	}
}

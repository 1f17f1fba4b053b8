package spec_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/services/ingestion/internal/spec"
	"github.com/freshet-io/freshet/services/ingestion/internal/sqlcheck"
	"github.com/stretchr/testify/require"
)

// sound are the definitions that stand beside each broken file.
var sound = map[string]string{
	"datasets/flights.yaml": "dataset: flights\nkeys: [flight_id]\ntime: date\n",
	"features/origin_delays.yaml": "view: origin_delays\ndataset: flights\nentity: {airport: origin}\nwindow: 3h\nfeatures: {late_share: " +
		"\"avg((delay > 15)::int)\"}\n",
}

func checker(t *testing.T) spec.SQL {
	t.Helper()
	engine, err := duckdb.Open(t.Context(), duckdb.Options{Threads: 1, MemoryLimit: "64MiB"})
	require.NoError(t, err)
	c := sqlcheck.New(engine)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// Each file of testdata/broken has one mistake. Its head says in which file of a
// repository it stands, on which line the mistake is reported, and what the fix
// and the message say.
func TestEveryMistakeHasItsLineAndItsFix(t *testing.T) {
	t.Parallel()
	sql := checker(t)
	paths, err := filepath.Glob("testdata/broken/*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 40)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			head := map[string]string{}
			for line := range strings.Lines(string(raw)) {
				key, value, ok := strings.Cut(strings.TrimPrefix(line, "# "), ": ")
				if !strings.HasPrefix(line, "# ") || !ok {
					break
				}
				head[key] = strings.TrimSpace(value)
			}
			files := map[string][]byte{}
			for name, text := range sound {
				files[name] = []byte(text)
			}
			files[head["file"]] = raw
			got := spec.Parse(files, spec.Options{SQL: sql}).Problems
			require.Len(t, got, 1, "%+v", got)
			p := got[0]
			require.Equal(t, head["file"], p.File)
			require.Equal(t, head["line"], strconv.FormatInt(p.Line, 10), "%+v", p)
			require.Contains(t, p.Fix, head["fix"])
			require.Contains(t, p.Message, head["says"])
			if p.Column != nil {
				require.Positive(t, *p.Column)
			}
		})
	}
}

package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

func drawn(t *testing.T, s screen, all bool, items string, columns ...column) string {
	t.Helper()
	var l list
	require.NoError(t, json.Unmarshal([]byte(`{"items":`+items+`}`), &l))
	var b bytes.Buffer
	require.NoError(t, table(&b, s, all, l.Items, columns...))
	return b.String()
}

func TestIDsAreAsLongAsTheyMustBe(t *testing.T) {
	t.Parallel()
	items := `[{"id":"0123456789-a","n":1},{"id":"0123456788-b","n":2},{"id":"0123456789-a","n":3}]`
	columns := []column{id("id", "id"), col("n", "n")}
	require.Equal(t, "ID          N\n0123456789  1\n0123456788  2\n0123456789  3\n", drawn(t, screen{}, false, items, columns...))
	require.Contains(t, drawn(t, screen{}, true, items, columns...), "0123456788-b  2\n")
	require.Equal(t, "ID        N\n01234567  1\n", drawn(t, screen{}, false, `[{"id":"0123456789-a","n":1}]`, columns...))
}

func TestATableFitsTheTerminalAndNothingElse(t *testing.T) {
	t.Parallel()
	items := `[{"name":"m","state":"refused","why":"` + strings.Repeat("because ", 20) + `","id":"0123456789abcdef"}]`
	columns := []column{col("name", "name"), state("state", "state"), col("why", "why"), id("id", "id")}
	for line := range strings.Lines(drawn(t, screen{width: 50}, false, items, columns...)) {
		require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 50)
	}
	require.Contains(t, drawn(t, screen{width: 50}, false, items, columns...), "…")
	require.NotContains(t, drawn(t, screen{}, false, items, columns...), "…")
	timed := drawn(t, screen{width: 45}, false, `[{"at":"2001-01-19T00:00:00Z","why":"because it is so and not otherwise"}]`, col("at", "at"), col("why", "why"))
	require.Contains(t, timed, "2001-01-19 00:00:00  because it is so and no…\n", "times are cut last")
	require.Contains(t, drawn(t, screen{width: 10}, false, items, columns...), "01234567", "ids are never cut")
}

func TestColourIsForTerminals(t *testing.T) {
	t.Parallel()
	items := `[{"state":"refused","n":1},{"state":"serving","n":2},{"state":"other","n":3}]`
	columns := []column{state("state", "state"), col("n", "n")}
	require.NotContains(t, drawn(t, screen{}, false, items, columns...), "\x1b")
	colored := drawn(t, screen{color: true}, false, items, columns...)
	require.Contains(t, colored, red+"refused"+plain+"  1\n")
	require.Contains(t, colored, green+"serving"+plain+"  2\n")
	require.Contains(t, colored, "other    3\n")
}

// YAML has the same values as the JSON that it was made of, whatever they look like.
func TestYAMLHasTheSameValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"", "yes", "null", "1", "0x1f", "1e3", "2001-01-01", "- a", "a: b", "#", "'", "~", "<a>", "\u2028"}))
		value := map[string]any{"texts": rapid.SliceOf(text).Draw(t, "texts"), "map": rapid.MapOf(text, rapid.Int64()).Draw(t, "map"),
			"yes": true, "none": nil, "float": rapid.Float64Range(-1e9, 1e9).Draw(t, "float")}
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := asYAML(&out, raw); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		again, err := jsonOfYAML(out.Bytes())
		if err != nil {
			t.Fatalf("%s: %v\n%s", raw, err, out.Bytes())
		}
		require.JSONEq(t, string(raw), string(again), out.String())
	})
}

func jsonOfYAML(b []byte) ([]byte, error) {
	var v any
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

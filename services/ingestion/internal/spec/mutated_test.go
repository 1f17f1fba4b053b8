package spec_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/ingestion/internal/spec"
	"github.com/stretchr/testify/require"
)

// Whatever is done to a file, reading it ends, and what it says can be recorded.
func TestMutatedFilesAreReadOrExplained(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/whole.yaml")
	require.NoError(t, err)
	pieces := []string{"", "\x00", "\t", "*x", "&x ", "{", "}", "[", "]", ": ", "- ", "\"", "'", "|\n", "---\n", "<<: ", "!!int ", "null", "~", "é",
		"\xff", "1e999", "-9223372036854775809", "%"}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same mutations every time
	for range 400 {
		b := append([]byte(nil), raw...)
		for range 1 + r.IntN(4) {
			at, n := r.IntN(len(b)), r.IntN(12)
			piece := pieces[r.IntN(len(pieces))]
			b = append(append(append([]byte(nil), b[:at]...), piece...), b[min(at+n, len(b)):]...)
			if len(b) == 0 {
				b = []byte("x")
			}
		}
		d := spec.Parse(map[string][]byte{"freshet.yaml": b}, spec.Options{})
		lines := int64(strings.Count(string(b), "\n") + 2)
		for _, p := range d.Problems {
			require.NoError(t, events.Validate(&p), "%+v", p)
			require.True(t, p.Line >= 1 && p.Line <= lines && p.Fix != "" && p.Message != "", "%+v in\n%s", p, b)
		}
		if len(d.Problems) > 0 {
			continue
		}
		for i := range d.Models {
			require.NoError(t, events.Validate(&d.Models[i]), string(b))
		}
		for i := range d.Datasets {
			require.NoError(t, events.Validate(&d.Datasets[i]), string(b))
		}
		for i := range d.Views {
			require.NoError(t, events.Validate(&d.Views[i]), string(b))
		}
	}
}

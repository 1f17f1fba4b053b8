package rule

import (
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/stretchr/testify/require"
)

func TestEvaluate(t *testing.T) {
	t.Parallel()
	v, err := New("candidate", "champion")
	require.NoError(t, err)
	m := Maps{"candidate": {"error_rate": 0.02, "p99_ms": 5}, "champion": {"error_rate": 0}}
	for name, c := range map[string]struct {
		cel            string
		isTrue, failed bool
		names          []string
	}{
		"true":         {cel: "candidate.error_rate > champion.error_rate + 0.01", isTrue: true, names: []string{"candidate.error_rate", "champion.error_rate"}},
		"false":        {cel: "candidate.p99_ms > 20", names: []string{"candidate.p99_ms"}},
		"index":        {cel: `candidate["p99_ms"] > 4.0`, isTrue: true, names: []string{"candidate.p99_ms"}},
		"missing":      {cel: "candidate.prediction_psi > 0.25", failed: true, names: []string{"candidate.prediction_psi"}},
		"guarded":      {cel: `"prediction_psi" in candidate && candidate.prediction_psi > 0.25`, names: []string{"candidate.prediction_psi"}},
		"no boolean":   {cel: "candidate.p99_ms", failed: true, names: []string{"candidate.p99_ms"}},
		"no CEL":       {cel: "candidate.", failed: true},
		"unknown":      {cel: "live.auc > 0.5", failed: true},
		"all in order": {cel: "candidate.all(k, candidate[k] >= 0.0)", isTrue: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := v.Evaluate(events.Rule{Name: "r", CEL: c.cel}, m)
			require.Equal(t, c.isTrue, got.True)
			require.Equal(t, c.failed, got.Failed)
			require.Equal(t, c.names, got.Names)
		})
	}
}

package rules_test

import (
	"testing"

	"github.com/freshet-io/freshet/libs/rules"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEvaluate(t *testing.T) {
	t.Parallel()
	v, err := rules.New(rules.Map("candidate"), rules.Map("champion"), rules.Nullable("former"))
	require.NoError(t, err)
	m := rules.Maps{"candidate": {"error_rate": 0.02, "p99_ms": 5}, "champion": {"error_rate": 0}}
	for name, c := range map[string]struct {
		cel            string
		isTrue, failed bool
		names          []string
	}{
		"true":          {cel: "candidate.error_rate > champion.error_rate + 0.01", isTrue: true, names: []string{"candidate.error_rate", "champion.error_rate"}},
		"false":         {cel: "candidate.p99_ms > 20", names: []string{"candidate.p99_ms"}},
		"index":         {cel: `candidate["p99_ms"] > 4.0`, isTrue: true, names: []string{"candidate.p99_ms"}},
		"missing":       {cel: "candidate.prediction_psi > 0.25", failed: true, names: []string{"candidate.prediction_psi"}},
		"guarded":       {cel: `"prediction_psi" in candidate && candidate.prediction_psi > 0.25`, names: []string{"candidate.prediction_psi"}},
		"no boolean":    {cel: "candidate.p99_ms", failed: true, names: []string{"candidate.p99_ms"}},
		"no CEL":        {cel: "candidate.", failed: true},
		"unknown":       {cel: "live.auc > 0.5", failed: true},
		"all in order":  {cel: "candidate.all(k, candidate[k] >= 0.0)", isTrue: true},
		"keys in order": {cel: "candidate.map(k, k) == ['error_rate', 'p99_ms']", isTrue: true},
		"null":          {cel: "former == null", isTrue: true},
		"null read":     {cel: "former.p99_ms > 1.0", failed: true, names: []string{"former.p99_ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := v.Evaluate(c.cel, m)
			require.Equal(t, c.isTrue, got.True)
			require.Equal(t, c.failed, got.Failed)
			require.Equal(t, c.names, got.Names)
		})
	}
}

// Whatever the rule and the numbers: the same answer twice, and never both true and
// failed.
func TestSameAnswer(t *testing.T) {
	t.Parallel()
	v, err := rules.New(rules.Map("a"), rules.Nullable("b"))
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.MapOf(rapid.SampledFrom([]string{"auc", "log_loss", "brier", "f1"}), rapid.Float64Range(0, 1))
		m := rules.Maps{"a": numbers.Draw(t, "a")}
		if rapid.Bool().Draw(t, "has b") {
			m["b"] = numbers.Draw(t, "b")
		}
		rule := rapid.SampledFrom([]string{
			"a.auc > 0.5", "b == null || a.auc > b.auc", "a.exists(k, a[k] > 0.5)",
			"a.map(k, a[k])[0] > 0.5", "a == b", "size(a) > 1", "a.auc > ",
		}).Draw(t, "rule")
		one := v.Evaluate(rule, m)
		if one.True && one.Failed {
			t.Fatalf("%+v", one)
		}
		require.Equal(t, one, v.Evaluate(rule, m))
	})
}

package gate_test

import (
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/registry/internal/gate"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEvaluate(t *testing.T) {
	t.Parallel()
	candidate := map[string]float64{"auc": 0.66, "log_loss": 0.49}
	champion := map[string]float64{"auc": 0.64, "log_loss": 0.50}
	naive := map[string]float64{"auc": 0.5, "log_loss": 0.53}
	for name, c := range map[string]struct {
		cel      string
		champion map[string]float64
		passed   bool
		failed   bool
		values   map[string]float64
	}{
		"passes":  {cel: "candidate.auc > naive.auc + 0.05", passed: true, values: map[string]float64{"candidate.auc": 0.66, "naive.auc": 0.5}},
		"refuses": {cel: "candidate.auc > 0.9", values: map[string]float64{"candidate.auc": 0.66}},
		"no champion": {cel: "champion == null || candidate.log_loss < champion.log_loss", passed: true,
			values: map[string]float64{"candidate.log_loss": 0.49}},
		"a champion": {cel: "champion == null || candidate.log_loss < champion.log_loss", champion: champion, passed: true,
			values: map[string]float64{"candidate.log_loss": 0.49, "champion.log_loss": 0.50}},
		"an index": {cel: "candidate['auc'] > champion[\"auc\"]", champion: champion, passed: true,
			values: map[string]float64{"candidate.auc": 0.66, "champion.auc": 0.64}},
		"a whole number":     {cel: "candidate.auc < 1", passed: true, values: map[string]float64{"candidate.auc": 0.66}},
		"a missing metric":   {cel: "candidate.f1 > 0.5", failed: true, values: map[string]float64{}},
		"null read":          {cel: "candidate.auc > champion.auc", failed: true, values: map[string]float64{"candidate.auc": 0.66}},
		"does not compile":   {cel: "candidate.auc >", failed: true, values: map[string]float64{}},
		"unknown name":       {cel: "challenger.auc > 1.0", failed: true, values: map[string]float64{}},
		"not a boolean":      {cel: "candidate.auc", failed: true, values: map[string]float64{"candidate.auc": 0.66}},
		"present":            {cel: "!has(candidate.f1)", passed: true, values: map[string]float64{}},
		"keys come in order": {cel: "candidate.map(k, k) == ['auc', 'log_loss']", passed: true, values: map[string]float64{}},
		"costs too much": {cel: "candidate.all(a, candidate.all(b, candidate.all(c, candidate.all(d, candidate.all(e, candidate.all(f, candidate.all(g, " +
			"candidate.all(h, candidate.all(i, candidate.all(j, candidate.all(k, candidate.all(l, candidate.all(m, candidate.all(n, candidate.all(o, " +
			"candidate.all(p, true))))))))))))))))", failed: true, values: map[string]float64{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := gate.New()
			require.NoError(t, err)
			results, passed := e.Evaluate([]events.Rule{{Name: "g", CEL: c.cel}}, gate.Metrics{Candidate: candidate, Champion: c.champion, Naive: naive})
			require.Equal(t, []events.GateResult{{Name: "g", CEL: c.cel, Passed: c.passed, FailedToEvaluate: c.failed, Values: c.values}}, results)
			require.Equal(t, c.passed, passed)
		})
	}
}

func TestEveryGateMustPass(t *testing.T) {
	t.Parallel()
	e, err := gate.New()
	require.NoError(t, err)
	results, passed := e.Evaluate([]events.Rule{{Name: "a", CEL: "true"}, {Name: "b", CEL: "1 / 0 == 1"}, {Name: "c", CEL: "true"}}, gate.Metrics{})
	require.False(t, passed)
	require.Len(t, results, 3, "a failed gate does not hide what the others say")
	require.True(t, results[1].FailedToEvaluate)
	_, passed = e.Evaluate(nil, gate.Metrics{})
	require.True(t, passed, "a model without gates lets every candidate through")
}

// Whatever the rule and the numbers: the same answer twice, and never both passed and
// failed to evaluate.
func TestSameAnswer(t *testing.T) {
	t.Parallel()
	e, err := gate.New()
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.MapOf(rapid.SampledFrom([]string{"auc", "log_loss", "brier", "f1"}), rapid.Float64Range(0, 1))
		m := gate.Metrics{Candidate: numbers.Draw(t, "candidate"), Naive: numbers.Draw(t, "naive")}
		if rapid.Bool().Draw(t, "has champion") {
			m.Champion = numbers.Draw(t, "champion")
		}
		rule := rapid.SampledFrom([]string{
			"candidate.auc > naive.auc", "champion == null || candidate.auc > champion.auc", "candidate.exists(k, candidate[k] > 0.5)",
			"candidate.map(k, candidate[k])[0] > 0.5", "candidate == champion", "size(candidate) > size(naive)", "candidate.auc > ",
		}).Draw(t, "rule")
		one, passed := e.Evaluate([]events.Rule{{Name: "g", CEL: rule}}, m)
		two, _ := e.Evaluate([]events.Rule{{Name: "g", CEL: rule}}, m)
		if one[0].Passed && one[0].FailedToEvaluate || passed != one[0].Passed {
			t.Fatalf("%+v", one)
		}
		require.Equal(t, one, two)
	})
}

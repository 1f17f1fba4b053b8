// Package gate judges a candidate by the rules that it must pass, written in CEL
// over the maps candidate, champion (null where there is none) and naive. What an
// evaluation depends on, and when it fails, is libs/rules' to say; a gate that could
// not be evaluated has not been passed.
package gate

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/rules"
)

// Metrics are what a gate sees. Champion is nil where there is none.
type Metrics struct {
	Candidate, Champion, Naive map[string]float64
}

// MetricsOf are the metrics that a measured candidate is judged on.
func MetricsOf(p events.CandidateMeasured) Metrics {
	m := Metrics{Candidate: p.Candidate.Metrics, Naive: p.Naive.Metrics}
	if p.Champion != nil {
		m.Champion = p.Champion.Metrics
		if m.Champion == nil {
			m.Champion = map[string]float64{}
		}
	}
	return m
}

// An Evaluator evaluates gates. It is safe for concurrent use.
type Evaluator struct{ rules *rules.Evaluator }

// New returns an evaluator.
func New() (*Evaluator, error) {
	v, err := rules.New(rules.Map("candidate"), rules.Nullable("champion"), rules.Map("naive"))
	if err != nil {
		return nil, err
	}
	return &Evaluator{rules: v}, nil
}

// Evaluate judges every rule, in order, and reports whether all of them passed.
func (v *Evaluator) Evaluate(gates []events.Rule, m Metrics) ([]events.GateResult, bool) {
	maps := rules.Maps{"candidate": m.Candidate, "champion": m.Champion, "naive": m.Naive}
	results := make([]events.GateResult, 0, len(gates))
	all := true
	for _, g := range gates {
		res := v.rules.Evaluate(g.CEL, maps)
		all = all && res.True
		results = append(results, events.GateResult{Name: g.Name, CEL: g.CEL, Passed: res.True, FailedToEvaluate: res.Failed, Values: res.Values})
	}
	return results, all
}

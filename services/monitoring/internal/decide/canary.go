package decide

import (
	"context"
	"errors"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/rules"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/freshet-io/freshet/services/monitoring/internal/state"
)

// evaluate gives the verdict on a canary's step: any rule that is true, or that
// cannot be evaluated, fails it. A window of a rollout that has ended or moved on
// decides nothing.
func (d *decider) evaluate(ctx context.Context, db eventlog.Reader, ns string, p events.WindowClosed) ([]event.Event, error) {
	c, err := state.CanaryOf(ctx, db, ns, p.Rollout)
	if errors.Is(err, state.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if c.State != domain.CanaryClosed || p.Step == nil || *p.Step != c.Step {
		return nil, nil
	}
	maps := rules.Maps{domain.Candidate: numbers(p.Slices, c.Version), domain.Champion: {}}
	if c.Previous != nil {
		maps[domain.Champion] = numbers(p.Slices, *c.Previous)
	}
	judged := events.CanaryJudged{Rollout: c.Rollout, Model: c.Model, Environment: c.Environment, Version: c.Version, Step: c.Step,
		Verdict: "pass", Rules: []events.GateResult{}}
	for _, r := range c.Rules {
		res := d.canary.Evaluate(r.CEL, maps)
		if res.True || res.Failed {
			judged.Verdict = "fail"
		}
		judged.Rules = append(judged.Rules, events.GateResult{Name: r.Name, CEL: r.CEL, Passed: !res.True && !res.Failed, FailedToEvaluate: res.Failed,
			Values: res.Values})
	}
	return eventlog.Decided(events.NewCanaryJudged(ns, c.Rollout, judged))
}

// numbers are what a rule sees of a version: nothing that was not measured.
func numbers(slices []events.WindowSlice, version int64) map[string]float64 {
	m := map[string]float64{"requests": 0}
	for _, s := range slices {
		if s.Version != version || s.Requests == 0 {
			continue
		}
		m["requests"] = float64(s.Requests)
		m["error_rate"] = float64(s.Errors) / float64(s.Requests)
		m["p50_ms"], m["p99_ms"] = s.P50MS, s.P99MS
		if s.PredictionPSI != nil {
			m["prediction_psi"] = *s.PredictionPSI
		}
		if s.PredictionMean != nil {
			m["prediction_mean"] = *s.PredictionMean
		}
	}
	return m
}

package training_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
)

// A model's rules hold over what the log says, whatever happened and in whatever
// order; every reason to train has one answer.
func TestTheLogKeepsTheRules(t *testing.T) {
	t.Parallel()
	w := start(t)
	const perDay, cooldown = 3, 2 * time.Hour
	rules := func(s *events.ModelSpec) {
		s.Retrain.PerDay, s.Retrain.Cooldown, s.Retrain.GiveUpAfter = perDay, events.Duration(cooldown), 0
	}
	rng := rand.New(rand.NewPCG(3, 4))
	w.commitData()
	w.declare(rules, nil)
	now, answered := day0, 0
	for range 60 {
		switch rng.IntN(6) {
		case 0:
			w.commitData()
		case 1:
			w.declare(rules, nil)
		case 2:
			w.Foreign(eventlog.Cause{}, must[event.Event](t)(events.NewTrainingAsked("default", model, events.TrainingAsked{Model: model})))
		default:
			w.Foreign(eventlog.Cause{}, must[event.Event](t)(events.NewDriftDetected("default", model, events.DriftDetected{
				Model: model, Environment: "production", Version: 1, Column: "x", Kind: "feature", PSI: 0.4, Threshold: 0.25, From: day0, To: day0})))
		}
		w.Settle(t.Context())
		requests := ofType(w.Events(), events.TypeTrainingRequested)
		if rng.IntN(2) == 0 && answered < len(requests) {
			for ; answered < len(requests); answered++ {
				e := requests[answered]
				w.Foreign(eventlog.CauseOf(e), must[event.Event](t)(events.NewTrainingSetFailed("default", model, events.TrainingSetFailed{
					Model: model, Request: e.ID(), Reason: []string{"too_little_data", "bad_sql"}[rng.IntN(2)]})))
			}
			w.Settle(t.Context())
		}
		now = now.Add(time.Duration(rng.IntN(150)) * time.Minute)
		w.Clock.Set(now)
	}

	open, causes := "", map[string]int{}
	var times []time.Time
	for _, e := range w.Events() {
		switch e.Type() {
		case events.TypeTrainingRequested:
			require.Empty(t, open, "one at a time")
			open = e.ID()
			causes[eventlog.Causation(e)]++
			if p := parse[events.TrainingRequested](t, e); p.Trigger == "drift" || p.Trigger == "data" {
				require.True(t, len(times) == 0 || e.Time().Sub(times[len(times)-1]) >= cooldown, "cooldown")
			}
			times = append(times, e.Time())
			today := 0
			for _, at := range times {
				if at.After(e.Time().Add(-24 * time.Hour)) {
					today++
				}
			}
			require.LessOrEqual(t, today, perDay)
		case events.TypeTrainingSkipped:
			causes[eventlog.Causation(e)]++
		case events.TypeRunFailed:
			require.Equal(t, open, parse[events.RunFailed](t, e).Request)
			open = ""
		case events.TypeTrainingEventParked:
			t.Fatal("parked:", string(e.Data()))
		}
	}
	require.Greater(t, len(times), 5)
	for _, e := range w.Events() {
		switch e.Type() {
		case events.TypeDriftDetected, events.TypeTrainingAsked:
			require.Equal(t, 1, causes[e.ID()], "one answer to %s", e.Type())
		}
	}
}

func ofType(all []event.Event, typ string) (out []event.Event) {
	for _, e := range all {
		if e.Type() == typ {
			out = append(out, e)
		}
	}
	return out
}

package registry_test

import (
	"fmt"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever happens to a model, in whatever order, also what can never happen: the
// registry's decisions alone tell a history without contradictions.
func TestProperties(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cases := 0
	rapid.Check(t, func(rt *rapid.T) {
		cases++
		model := fmt.Sprintf("m%d", cases)
		steps := rapid.IntRange(1, 25).Draw(rt, "steps")
		for i := range steps {
			b.random(rt, model, i)
		}
		b.Settle(t.Context())
		check(rt, b.Events(), model)
	})
}

// random says one thing about a model.
func (b *bundle) random(rt *rapid.T, model string, i int) {
	version := rapid.Int64Range(1, 4).Draw(rt, "version")
	environment := rapid.SampledFrom([]string{"staging", "production"}).Draw(rt, "environment")
	id := fmt.Sprintf("%s-r%d", model, i)
	switch rapid.SampledFrom([]string{"measure", "measure", "complete", "complete", "back", "failed", "approve", "deny", "promote", "withdraw"}).Draw(rt, "what") {
	case "measure":
		auc := rapid.SampledFrom([]float64{0.5, 0.6, 0.7}).Draw(rt, "auc")
		mode := rapid.SampledFrom([]string{"act", "act", "propose", "observe"}).Draw(rt, "mode")
		run := rapid.IntRange(1, 6).Draw(rt, "run")
		b.measure(measured(model, fmt.Sprintf("run-%d", run), func(p *events.CandidateMeasured) {
			p.Candidate.Metrics["auc"], p.Mode = auc, mode
		}))
	case "complete":
		b.complete(model, environment, version, "promotion", id)
	case "back":
		b.complete(model, environment, version, "rollback", id)
	case "failed":
		b.say(events.NewRolloutRolledBack(namespace, id, events.RolloutRolledBack{Rollout: id, Model: model, Environment: environment, Version: version,
			Reason: "canary"}))
	case "approve":
		b.say(events.NewApprovalGiven(namespace, model, events.ApprovalGiven{Model: model, Version: version, Environment: environment}))
	case "deny":
		b.say(events.NewApprovalDenied(namespace, model, events.ApprovalDenied{Model: model, Version: version, Environment: environment}))
	case "promote":
		b.say(events.NewPromotionAsked(namespace, model, events.PromotionAsked{Model: model, Version: version, Environment: environment}))
	case "withdraw":
		b.say(events.NewModelWithdrawn(namespace, model, events.ModelWithdrawn{Model: model, Repository: "flights", Revision: object("f").Digest[7:]}))
	}
}

// check reads the registry's decisions about a model and demands that each may follow
// the ones before it.
func check(t require.TestingT, log []event.Event, model string) {
	var latest int64
	passed, waiting := map[int64]bool{}, map[string]bool{}
	champion := map[string]int64{}
	cause := map[string]event.Event{}
	for _, e := range log {
		cause[e.ID()] = e
		if e.Subject() != model || eventlog.Namespace(e) != namespace {
			continue
		}
		because := cause[eventlog.Causation(e)]
		switch e.Type() {
		case events.TypeModelVersionRegistered:
			p, err := events.Parse[events.ModelVersionRegistered](e)
			require.NoError(t, err)
			latest++
			require.Equal(t, latest, p.Version, "numbers have no gap")
		case events.TypeCandidatePassed:
			p, err := events.Parse[events.CandidatePassed](e)
			require.NoError(t, err)
			require.Equal(t, latest, p.Version)
			passed[p.Version] = true
		case events.TypeApprovalRequested:
			p, err := events.Parse[events.ApprovalRequested](e)
			require.NoError(t, err)
			require.True(t, passed[p.Version], "only passed versions wait")
			for v := p.Version + 1; v <= latest; v++ {
				require.NotEqual(t, v, champion[p.Environment], "an older version never overtakes a newer champion by itself")
			}
			waiting[key(p.Version, p.Environment)] = true
		case events.TypeModelVersionApproved:
			p, err := events.Parse[events.ModelVersionApproved](e)
			require.NoError(t, err)
			require.True(t, passed[p.Version], "only passed versions are approved")
			if p.By == "person" {
				require.Contains(t, []string{events.TypeApprovalGiven, events.TypePromotionAsked}, because.Type())
				if because.Type() == events.TypeApprovalGiven {
					require.True(t, waiting[key(p.Version, p.Environment)], "only what waits is approved by a person")
				}
			} else {
				require.Equal(t, "staging", p.Environment, "production asks a person")
			}
			require.Equal(t, champion[p.Environment], value(p.Champion), "an approval knows the champion")
			delete(waiting, key(p.Version, p.Environment))
		case events.TypeModelVersionDenied:
			p, err := events.Parse[events.ModelVersionDenied](e)
			require.NoError(t, err)
			delete(waiting, key(p.Version, p.Environment))
		case events.TypeChampionChanged:
			p, err := events.Parse[events.ChampionChanged](e)
			require.NoError(t, err)
			require.Equal(t, events.TypeRolloutCompleted, because.Type(), "only a rollout changes a champion")
			require.True(t, passed[p.Version])
			require.Equal(t, champion[p.Environment], value(p.Previous), "at most one champion per environment")
			require.NotEqual(t, champion[p.Environment], p.Version)
			champion[p.Environment] = p.Version
			// A rollout that nobody approved can never be; said nevertheless, its version
			// serves, and waits no longer.
			delete(waiting, key(p.Version, p.Environment))
		}
	}
	for _, e := range []string{"staging", "production"} {
		n := 0
		for v := int64(1); v <= latest; v++ {
			if waiting[key(v, e)] {
				n++
			}
		}
		require.LessOrEqual(t, n, 1, "one version waits for a person, the newest")
	}
}

func key(version int64, environment string) string { return fmt.Sprintf("%d/%s", version, environment) }

func value(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

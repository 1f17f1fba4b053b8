package registry_test

import (
	"fmt"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/stretchr/testify/require"
)

func TestACandidateBecomesChampion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.measure(measured("flight-delays", "run-1", nil))
	decided := b.because(e)
	require.Equal(t, []string{"model_version_registered", "candidate_passed", "model_version_approved"}, short(decided))
	registered := parse[events.ModelVersionRegistered](t, decided[0])
	require.EqualValues(t, 1, registered.Version)
	require.Equal(t, "run-1", registered.Lineage.Run)
	approved := parse[events.ModelVersionApproved](t, decided[2])
	require.Equal(t, "staging", approved.Environment)
	require.Equal(t, "rule", approved.By)
	require.Equal(t, registered.Artifact, approved.Artifact, "deployment needs nobody else")
	require.Nil(t, approved.Champion)

	decided = b.because(b.complete("flight-delays", "staging", 1, "promotion", "r1"))
	require.Equal(t, []string{"champion_changed", "approval_requested"}, short(decided))
	require.Equal(t, "production", parse[events.ApprovalRequested](t, decided[1]).Environment)

	given := b.say(events.NewApprovalGiven(namespace, "flight-delays", events.ApprovalGiven{Model: "flight-delays", Version: 1, Environment: "production"}))
	decided = b.because(given)
	require.Equal(t, []string{"model_version_approved"}, short(decided))
	approved = parse[events.ModelVersionApproved](t, decided[0])
	require.Equal(t, "person", approved.By)
	require.Equal(t, []int64{10, 50}, approved.Rollout.Canary)
	require.Len(t, approved.RollbackIf, 1)
	again := b.say(events.NewApprovalGiven(namespace, "flight-delays", events.ApprovalGiven{Model: "flight-delays", Version: 1, Environment: "production"}))
	require.Empty(t, b.because(again), "it does not wait any more")

	decided = b.because(b.complete("flight-delays", "production", 1, "promotion", "r2"))
	require.Equal(t, []string{"champion_changed"}, short(decided))

	var model struct {
		Latest    int64
		Champions []struct {
			Environment string
			Version     int64
		}
	}
	require.Equal(t, 200, b.get("/v1/models/flight-delays", &model))
	require.EqualValues(t, 1, model.Latest)
	require.Len(t, model.Champions, 2)
	require.Equal(t, "production", model.Champions[0].Environment)
	var versions struct {
		Items []struct {
			Version int64
			Status  string
			Metrics struct{ Candidate, Naive map[string]float64 }
			Stages  []struct{ Environment, Stage string }
		}
	}
	require.Equal(t, 200, b.get("/v1/models/flight-delays/versions", &versions))
	require.Len(t, versions.Items, 1)
	require.Equal(t, "passed", versions.Items[0].Status)
	require.InDelta(t, 0.66, versions.Items[0].Metrics.Candidate["auc"], 0)
	require.Len(t, versions.Items[0].Stages, 2)
	var one struct {
		Registered events.ModelVersionRegistered
	}
	require.Equal(t, 200, b.get("/v1/models/flight-delays/versions/1", &one))
	require.Equal(t, registered, one.Registered)
	var problem struct{ Title string }
	require.Equal(t, 404, b.get("/v1/models/flight-delays/versions/2", &problem))
	require.Equal(t, 404, b.get("/v1/models/nobody/versions", &problem))
}

func TestAGateRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.measure(measured("m", "run-1", func(p *events.CandidateMeasured) {
		p.Champion = &events.ChampionMeasure{Version: 1, Metrics: map[string]float64{"auc": 0.7, "log_loss": 0.48}}
		p.Gates = append(p.Gates, events.Rule{Name: "broken", CEL: "candidate.f1 > 0.5"})
	}))
	decided := b.because(e)
	require.Equal(t, []string{"model_version_registered", "candidate_refused"}, short(decided))
	gates := parse[events.CandidateRefused](t, decided[1]).Gates
	require.Len(t, gates, 3)
	require.True(t, gates[0].Passed)
	require.False(t, gates[1].Passed)
	require.Equal(t, map[string]float64{"candidate.log_loss": 0.49, "champion.log_loss": 0.48}, gates[1].Values)
	require.True(t, gates[2].FailedToEvaluate)

	promotion := b.say(events.NewPromotionAsked(namespace, "m", events.PromotionAsked{Model: "m", Version: 1, Environment: "production"}))
	decided = b.because(promotion)
	require.Equal(t, []string{"model_version_denied"}, short(decided))
	require.Equal(t, "not_passed", parse[events.ModelVersionDenied](t, decided[0]).Reason)
}

func TestARunBecomesOneVersion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NotEmpty(t, b.because(b.measure(measured("m", "run-1", nil))))
	require.Empty(t, b.because(b.measure(measured("m", "run-1", nil))))
	decided := b.because(b.measure(measured("m", "run-2", nil)))
	require.EqualValues(t, 2, parse[events.ModelVersionRegistered](t, decided[0]).Version)
}

func TestModes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for mode, last := range map[string]string{"observe": "model_version_denied", "propose": "approval_requested", "act": "model_version_approved"} {
		decided := b.because(b.measure(measured("m-"+mode, "run-1", func(p *events.CandidateMeasured) { p.Mode = mode })))
		require.Equal(t, []string{"model_version_registered", "candidate_passed", last}, short(decided), mode)
	}
}

func TestNewerOvertakesOlder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	onlyPerson := func(p *events.CandidateMeasured) { p.Environments = p.Environments[1:] }
	b.measure(measured("m", "run-1", onlyPerson))
	decided := b.because(b.measure(measured("m", "run-2", onlyPerson)))
	require.Equal(t, []string{"model_version_registered", "candidate_passed", "model_version_denied", "approval_requested"}, short(decided))
	denied := parse[events.ModelVersionDenied](t, decided[2])
	require.EqualValues(t, 1, denied.Version)
	require.Equal(t, "overtaken", denied.Reason)
	late := b.say(events.NewApprovalGiven(namespace, "m", events.ApprovalGiven{Model: "m", Version: 1, Environment: "production"}))
	require.Empty(t, b.because(late))
}

func TestRollbackPromotesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for v := int64(1); v <= 2; v++ {
		b.measure(measured("m", fmt.Sprint("run-", v), nil))
		b.because(b.complete("m", "staging", v, "promotion", fmt.Sprint("r", v)))
	}
	decided := b.because(b.complete("m", "staging", 1, "rollback", "back"))
	require.Equal(t, []string{"champion_changed"}, short(decided))
	changed := parse[events.ChampionChanged](t, decided[0])
	require.EqualValues(t, 1, changed.Version)
	require.EqualValues(t, 2, *changed.Previous)
}

func TestRolledBackIsDenied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.measure(measured("m", "run-1", nil))
	e := b.say(events.NewRolloutRolledBack(namespace, "r1", events.RolloutRolledBack{Rollout: "r1", Model: "m", Environment: "staging", Version: 1,
		Reason: "replica_failed"}))
	decided := b.because(e)
	require.Equal(t, []string{"model_version_denied"}, short(decided))
	require.Equal(t, "rolled_back", parse[events.ModelVersionDenied](t, decided[0]).Reason)

	promotion := b.say(events.NewPromotionAsked(namespace, "m", events.PromotionAsked{Model: "m", Version: 1, Environment: "production"}))
	decided = b.because(promotion)
	require.Equal(t, []string{"model_version_approved"}, short(decided), "a person may still want it, anywhere")
}

func TestAWithdrawnModelWaitsForNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.measure(measured("m", "run-1", func(p *events.CandidateMeasured) { p.Mode = "propose" }))
	e := b.say(events.NewModelWithdrawn(namespace, "m", events.ModelWithdrawn{Model: "m", Repository: "flights", Revision: object("f").Digest[7:]}))
	decided := b.because(e)
	require.Equal(t, []string{"model_version_denied"}, short(decided))
	require.Equal(t, "withdrawn", parse[events.ModelVersionDenied](t, decided[0]).Reason)
	decided = b.because(b.measure(measured("m", "run-2", nil)))
	require.Equal(t, []string{"model_version_registered", "candidate_passed", "model_version_denied"}, short(decided))
}

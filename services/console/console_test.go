package console_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
)

func TestARippleFromDataToProduction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived := b.arrive()
	r := b.ripple(arrived)
	require.Equal(t, "data", r.Trigger)
	require.Equal(t, events.TypeDataArrived, r.RootType)
	require.Equal(t, "flights", r.Subject)
	require.Equal(t, "running", r.Outcome)
	require.True(t, r.Open)
	require.Nil(t, r.Ended)

	committed := b.commit(b.check(arrived))
	r = b.ripple(arrived)
	require.Equal(t, "committed", r.Outcome)
	require.Equal(t, "commit 1 of flights: 16,600 rows, 4 quarantined", r.Detail)
	require.False(t, r.Open)
	require.EqualValues(t, 3, r.Events)

	b.register(committed, 2)
	asked := b.ask(committed, 2)
	r = b.ripple(arrived)
	require.Equal(t, "waiting", r.Outcome)
	require.True(t, r.Open)
	var waiting struct {
		Items []struct {
			Model, Environment, Ripple string
			Version                    int64
			Candidate                  map[string]float64
		}
	}
	require.Equal(t, 200, b.get("/v1/approvals", &waiting))
	require.Len(t, waiting.Items, 1)
	require.Equal(t, arrived.ID(), waiting.Items[0].Ripple)
	require.InDelta(t, 0.66, waiting.Items[0].Candidate["auc"], 0)

	status, a := b.post("/v1/approvals", `{"model":"flight-delays","version":2,"environment":"production","verdict":"approve","note":"rain matters"}`,
		"Freshet-Actor", "ada")
	require.Equal(t, 201, status, a.Detail)
	require.Equal(t, arrived.ID(), a.Ripple, "it belongs to the ripple that waited")
	given := b.AwaitType(events.TypeApprovalGiven, 1)
	require.Equal(t, a.ID, given.ID())
	require.Equal(t, asked.ID(), eventlog.Causation(given))
	require.Equal(t, "ada", eventlog.Actor(given))
	p, err := events.Parse[events.ApprovalGiven](given)
	require.NoError(t, err)
	note, err := b.Objects.Get(t.Context(), p.Note.Digest, 100)
	require.NoError(t, err)
	require.Equal(t, "rain matters", string(note))
	require.NotContains(t, string(given.Data()), "rain", "no free text inline")

	approved := b.approve(given, 2)
	started := b.start(approved, "r1", 2)
	r = b.ripple(arrived)
	require.Equal(t, "rolling_out", r.Outcome)
	require.True(t, r.Open)

	// A canary's window begins a ripple of its own; what it leads to is this one's outcome.
	e, err := events.NewWindowClosed(namespace, model, events.WindowClosed{Model: model, Environment: "production", Kind: "canary", From: at,
		To: at.Add(time.Hour), Rollout: "r1",
		Slices: []events.WindowSlice{}, Drift: []events.ColumnDrift{}})
	window := b.then(none, e, err)
	_ = started
	b.champion(b.complete(window, "r1", 2), 2, nil)
	r = b.ripple(arrived)
	require.Equal(t, "serving", r.Outcome)
	require.Equal(t, "v2 serves in production", r.Detail)
	require.False(t, r.Open)
	require.Equal(t, "quiet", b.ripple(window).Outcome)

	var ripples struct{ Items []ripple }
	require.Equal(t, 200, b.get("/v1/ripples", &ripples))
	require.Len(t, ripples.Items, 1, "windows in which nothing was found are not shown")
	require.Equal(t, 200, b.get("/v1/ripples?all=true", &ripples))
	require.GreaterOrEqual(t, len(ripples.Items), 2)
}

func TestOutcomesOfOtherRipples(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.arrive()
	b.register(first, 1)
	b.ask(first, 1)
	second := b.arrive()
	passed := b.register(second, 2)
	e, err := events.NewModelVersionDenied(namespace, model, events.ModelVersionDenied{Model: model, Version: 1, Environment: "production", Reason: "overtaken"})
	b.then(passed, e, err)
	b.check(first)
	b.check(second)
	r := b.ripple(first)
	require.Equal(t, "overtaken", r.Outcome)
	require.False(t, r.Open)
	require.Equal(t, "passed", b.ripple(second).Outcome)

	status, a := b.post("/v1/approvals", `{"model":"flight-delays","version":1,"environment":"production","verdict":"approve"}`)
	require.Equal(t, 409, status)
	require.Contains(t, a.Detail, "denied")
}

func TestTriggers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, err := events.NewWindowClosed(namespace, model, events.WindowClosed{Model: model, Environment: "production", Kind: "traffic", From: at,
		To:     at.Add(time.Hour),
		Slices: []events.WindowSlice{}, Drift: []events.ColumnDrift{}})
	window := b.then(none, e, err)
	e, err = events.NewDriftDetected(namespace, model, events.DriftDetected{Model: model, Environment: "production", Version: 1, Column: "late_share",
		Kind: "numeric", PSI: 0.37, Threshold: 0.25, From: at, To: at})
	if err != nil {
		e, err = events.NewDriftDetected(namespace, model, events.DriftDetected{Model: model, Environment: "production", Version: 1, Column: "late_share",
			Kind: "feature", PSI: 0.37, Threshold: 0.25, From: at, To: at})
	}
	drift := b.then(window, e, err)
	e, err = events.NewTrainingSkipped(namespace, model, events.TrainingSkipped{Model: model, Trigger: "drift", Reason: "cooldown"})
	b.then(drift, e, err)
	r := b.ripple(window)
	require.Equal(t, "drift", r.Trigger)
	require.Equal(t, "drifted", r.Outcome)
	require.Equal(t, "late_share: PSI 0.37", r.Detail)

	e, err = events.NewCodePushed(namespace, "flights", events.CodePushed{Repository: "flights", URL: "/tmp/flights", Branch: "main",
		Revision: strings.Repeat("c", 40), Via: "watch"})
	pushed := b.then(none, e, err)
	r = b.ripple(pushed)
	require.Equal(t, "code", r.Trigger)
	require.True(t, r.Open)
}

func TestRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	status, a := b.post("/v1/trainings", `{"model":"flight-delays"}`)
	require.Equal(t, 404, status, "nobody knows the model")
	require.Contains(t, a.Detail, "flight-delays")
	arrived := b.arrive()
	b.register(arrived, 1)
	previous := int64(1)
	b.champion(arrived, 1, nil)
	b.Settle(t.Context())

	status, a = b.post("/v1/trainings", `{"model":"flight-delays"}`, "Idempotency-Key", "k1")
	require.Equal(t, 201, status, a.Detail)
	status, again := b.post("/v1/trainings", `{"model":"flight-delays"}`, "Idempotency-Key", "k1")
	require.Equal(t, 200, status)
	require.Equal(t, a.ID, again.ID)
	require.True(t, again.Existing)
	var r ripple
	require.Equal(t, 200, b.get("/v1/ripples/"+a.ID, &r))
	require.Equal(t, "person", r.Trigger)
	require.Equal(t, "operator", r.Items[0].Actor)

	status, _ = b.post("/v1/rollbacks", `{"model":"flight-delays","environment":"production"}`)
	require.Equal(t, 409, status, "there is nothing to go back to")
	status, _ = b.post("/v1/rollbacks", `{"model":"flight-delays","environment":"nowhere"}`)
	require.Equal(t, 404, status)
	b.register(arrived, 2)
	b.champion(arrived, 2, &previous)
	b.Settle(t.Context())
	status, _ = b.post("/v1/rollbacks", `{"model":"flight-delays","environment":"production"}`)
	require.Equal(t, 201, status)
	status, _ = b.post("/v1/rollbacks", `{"model":"flight-delays","environment":"production","version":2}`)
	require.Equal(t, 409, status)

	status, _ = b.post("/v1/promotions", `{"model":"flight-delays","version":9,"environment":"production"}`)
	require.Equal(t, 404, status)
	status, _ = b.post("/v1/promotions", `{"model":"flight-delays","version":1,"environment":"production"}`, "Idempotency-Key", "k1")
	require.Equal(t, 201, status, "a key is per route")
	status, _ = b.post("/v1/promotions", `{"model":"flight-delays","version":1,"environment":"staging"}`, "Idempotency-Key", "k1")
	require.Equal(t, 409, status, "a key is for one wish")

	status, _ = b.post("/v1/approvals", `{"model":"flight-delays","version":9,"environment":"production","verdict":"approve"}`)
	require.Equal(t, 404, status)
	status, _ = b.post("/v1/approvals", `{"model":"flight-delays","version":1,"environment":"production","verdict":"approve"}`)
	require.Equal(t, 409, status, "it never waited")
	for _, actor := range []string{"Ada Lovelace", "ada@example.com", strings.Repeat("a", 129), "-ada"} {
		status, a = b.post("/v1/trainings", `{"model":"flight-delays"}`, "Freshet-Actor", actor)
		require.Equal(t, 400, status, actor)
		require.Contains(t, a.Detail, "write an opaque id of 1 to 128 letters, digits and ._:|/=+-")
	}
	for _, bad := range []string{``, `{`, `[]`, `{"model":"flight-delays","surprise":1}`, `{"model":"flight-delays"} {}`, `{"model":"../x"}`} {
		status, a = b.post("/v1/trainings", bad)
		require.Equal(t, 400, status, bad)
		require.NotEmpty(t, a.Detail)
	}
	status, _ = b.post("/v1/approvals", `{"model":"flight-delays","version":1,"environment":"production","verdict":"perhaps"}`)
	require.Equal(t, 400, status)
	status, _ = b.post("/v1/trainings", `{"model":"`+strings.Repeat("x", 70<<10)+`"}`)
	require.Equal(t, 413, status)
}

func TestAPromotionNamesAnEnvironmentOfTheModel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived := b.arrive()
	e, err := events.NewModelDeclared(namespace, model, events.ModelDeclared{Model: model, SpecDigest: object("6").Digest,
		Code: events.CodeRevision{Repository: "flights", Revision: strings.Repeat("c", 40), Archive: object("d")},
		Spec: events.ModelSpec{Model: model, Task: "binary-classification", Mode: "act", Examples: events.ExamplesSpec{Dataset: "flights", Label: "delay > 15"},
			Features: []events.ViewUse{}, Request: []events.TypedField{}, Prediction: []events.TypedField{}, Metrics: []string{"auc"}, Gates: []events.Rule{},
			Environments: []events.EnvironmentSpec{{Environment: "staging", Approve: "auto", Rollout: events.RolloutSpec{Canary: []int64{}}},
				{Environment: "production", Approve: "auto", Rollout: events.RolloutSpec{Canary: []int64{}}}},
			Monitor: events.MonitorSpec{Window: events.Duration(time.Hour), PSI: 0.25}, Retrain: events.RetrainSpec{When: []string{}}}})
	b.then(arrived, e, err)
	b.register(arrived, 1)
	b.Settle(t.Context())
	status, a := b.post("/v1/promotions", `{"model":"flight-delays","version":1,"environment":"prod"}`)
	require.Equal(t, 404, status)
	require.Equal(t, `flight-delays has no environment "prod"; it has staging, production`, a.Detail)
	status, _ = b.post("/v1/promotions", `{"model":"flight-delays","version":1,"environment":"production"}`)
	require.Equal(t, 201, status)
	status, a = b.post("/v1/promotions", `{"version":"one"}`)
	require.Equal(t, 400, status)
	require.Equal(t, "version is not what this route takes there: it is a JSON string", a.Detail)
}

func TestWhatATrainingSetLackedIsNotForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived := b.arrive()
	e, err := events.NewTrainingSetFailed(namespace, model, events.TrainingSetFailed{Model: model, Request: "q1", Reason: "bad_sql"})
	failed := b.then(arrived, e, err)
	e, err = events.NewRunFailed(namespace, model, events.RunFailed{Run: "run-1", Model: model, Request: "q1", Reason: "training_set", Attempts: 0})
	b.then(failed, e, err)
	r := b.ripple(arrived)
	require.Equal(t, "failed", r.Outcome)
	require.Equal(t, "training set: bad sql", r.Detail)
}

func TestAnApprovalHasOneVerdict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived := b.arrive()
	b.register(arrived, 1)
	asked := b.ask(arrived, 1)
	b.Settle(t.Context())
	approve := `{"model":"flight-delays","version":1,"environment":"production","verdict":"approve"}`
	status, first := b.post("/v1/approvals", approve)
	require.Equal(t, 201, status)
	status, second := b.post("/v1/approvals", approve)
	require.Equal(t, 200, status)
	require.Equal(t, first.ID, second.ID)
	b.approve(b.AwaitType(events.TypeApprovalGiven, 1), 1)
	b.Settle(t.Context())
	status, third := b.post("/v1/approvals", approve)
	require.Equal(t, 200, status, "also when it does not wait any more")
	require.Equal(t, first.ID, third.ID)
	for _, other := range []string{strings.Replace(approve, `"approve"`, `"deny"`, 1), strings.Replace(approve, `}`, `,"note":"because"}`, 1)} {
		status, a := b.post("/v1/approvals", other)
		require.Equal(t, 409, status)
		require.Equal(t, "v1 was already approved for production", a.Detail)
	}
	require.Equal(t, asked.ID(), eventlog.Causation(b.AwaitType(events.TypeApprovalGiven, 1)))
}

func TestOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	own := b.URL
	for name, c := range map[string]struct {
		headers []string
		status  int
	}{
		"a program":                   {nil, 404},
		"the page itself":             {[]string{"Origin", own, "Sec-Fetch-Site", "same-origin", "Freshet-Request", "console"}, 404},
		"another site":                {[]string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Freshet-Request", "console"}, 403},
		"another port of this host":   {[]string{"Origin", "http://127.0.0.1:1", "Freshet-Request", "console"}, 403},
		"another site, old browser":   {[]string{"Origin", "https://evil.example"}, 403},
		"an opaque origin":            {[]string{"Origin", "null", "Freshet-Request", "console"}, 403},
		"same origin without the own": {[]string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, 403},
		"a form's content type":       {[]string{"Content-Type", "text/plain"}, 415},
	} {
		status, _ := b.post("/v1/trainings", `{"model":"nobody"}`, c.headers...)
		require.Equal(t, c.status, status, name)
	}
}

func TestTheStream(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL+"/v1/ripples/stream", nil)
	require.NoError(t, err)
	r, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	defer r.Body.Close()
	arrived := b.arrive()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && strings.Contains(data, arrived.ID()) {
			require.Contains(t, data, `"trigger":"data"`)
			return
		}
	}
	t.Fatal("the stream ended:", lines.Err())
}

func TestThePageIsComplete(t *testing.T) {
	t.Parallel()
	b := setup(t)
	arrived := b.arrive()
	b.register(arrived, 1)
	b.ask(arrived, 1)
	b.Settle(t.Context())
	r, err := http.Get(b.URL + "/")
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, 200, r.StatusCode, string(body))
	require.Contains(t, r.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	page := string(body)
	require.Contains(t, page, fmt.Sprintf(`href="#ripple/%s"`, arrived.ID()))
	require.Contains(t, page, `data-verdict="approve"`)
	require.Contains(t, page, "<td>0.660</td><td>0.640</td><td>0.500</td>")
	for _, question := range []string{"why", "impact", "as-of"} {
		require.Contains(t, page, fmt.Sprintf(`<form data-question="%s">`, question))
	}
	require.Contains(t, page, `<strong>flight-delays v1</strong> passed <a href="#why/flight-delays@1">why?</a>`)
	require.Contains(t, page, `<option value="flight-delays@1">`)
	for _, asset := range []string{"style.css", "services.css", "app.js", "graph.js", "page.js", "past.js", "worklist.js", "icon.svg", "state"} {
		r, err := http.Get(b.URL + "/console/" + asset)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		require.Equal(t, 200, r.StatusCode, asset)
	}
	require.NotContains(t, page, "http://", "it works offline")
	require.NotContains(t, page, "https://")
}

package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// suite is the console with answers of audit beside it, on one origin as a suite has them.
func suite(t *testing.T, b *bundle, answers map[string]string, more ...func(*http.ServeMux)) string {
	t.Helper()
	console, err := url.Parse(b.URL)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(console))
	for pattern, body := range answers {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			answer := body
			if r.URL.Query().Get("format") == "svg" {
				w.Header().Set("Content-Type", "image/svg+xml")
				answer = `<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20"/></svg>`
			}
			_, _ = w.Write([]byte(answer))
		})
	}
	for _, add := range more {
		add(mux)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// reader reads what an element says.
func reader(ctx context.Context, t *testing.T) func(selector string) string {
	return func(selector string) string {
		t.Helper()
		s, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(selector)))
		require.NoError(t, err)
		return s
	}
}

// From what serves, a person asks why, what came of a commit, and how everything stood;
// where audit does not answer, the page says what its answer says.
func TestAPersonAsksThePast(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	b := setup(t)
	committed := b.commit(b.check(b.arrive()))
	b.register(committed, 2)
	asked := b.ask(committed, 2)
	started := b.start(b.approve(asked, 2), "r1", 2)
	b.champion(b.complete(started, "r1", 2), 2, nil)
	b.Settle(t.Context())
	address := suite(t, b, map[string]string{
		"/v1/why/production/flight-delays": `{"question":"why","title":"production serves flight-delays v2 since 2001-01-06 00:00","facts":[{"what":"data","text":"commits 1 to 3 of flights","event":"x"}],
			"nodes":[{"id":"e1","sequence":9,"type":"io.freshet.registry.v1.champion_changed","time":"2001-01-06T00:00:00Z","text":"v2 became <b>champion</b>"},
				{"id":"e2","sequence":3,"type":"io.freshet.ingestion.v1.data_committed","time":"2001-01-06T00:00:00Z","text":"data commit 3 of flights","more":true}],"edges":[],"found":2}`,
		"/v1/impact/e1": `{"question":"impact","title":"v2 became champion","facts":[],"counts":{"io.freshet.monitoring.v1.alert_raised":2},
			"nodes":[{"id":"e1","sequence":9,"type":"io.freshet.registry.v1.champion_changed","time":"2001-01-06T00:00:00Z","text":"v2 became champion"}],"edges":[],"found":2}`,
		"/v1/impact/flights%233": `{"question":"impact","title":"data commit 3 of flights","facts":[],"counts":{},"nodes":[{"id":"e3","sequence":3,"type":"io.freshet.ingestion.v1.data_committed",
			"time":"2001-01-06T00:00:00Z","text":"data commit 3 of flights"}],"edges":[],"found":0}`,
		"/v1/as-of/812": `{"position":812,"time":"2001-01-06T00:00:00Z","models":[],"champions":[],"rollouts":[],"approvals":[],"alerts":[],"trainings":[],"versions":[],"datasets":[],"views":[],
			"environments":[{"model":"flight-delays","environment":"production","state":"stepping","changed":"2001-01-06T00:00:00Z","traffic":[{"version":1,"per_cent":90},{"version":2,"per_cent":10}]}]}`,
	})

	text := reader(ctx, t)
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(address+"/"),
		chromedp.WaitVisible(chromedp.CSS(`#live.on`)),
		chromedp.Click(chromedp.CSS(`#champions a[href="#why/production/flight-delays"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#answer li[data-event=e1]`)),
		chromedp.WaitNotVisible(chromedp.CSS(`#picture`)),
	))
	require.Equal(t, "Why", text(`#past-title`))
	answer := text(`#answer`)
	require.Contains(t, answer, "production serves flight-delays v2")
	require.Contains(t, answer, "commits 1 to 3 of flights")
	require.Contains(t, answer, "v2 became <b>champion</b>", "an event's words are words, not HTML")
	require.Contains(t, answer, "and why that?")

	require.NoError(t, chromedp.Do(ctx,
		chromedp.Click(chromedp.CSS(`#answer li[data-event=e1] a[href="#impact/e1"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#answer a[href="#why/e1"]`)),
	))
	require.Contains(t, text(`#answer dl`), "alert raised")

	require.NoError(t, chromedp.Do(ctx,
		chromedp.SendKeys(chromedp.CSS(`form[data-question=as-of] input`), "812\r"),
		chromedp.WaitVisible(chromedp.CSS(`#answer table[data-section=environments]`)),
	))
	require.Contains(t, text(`#answer`), "As of position 812")
	require.Contains(t, text(`#answer table`), "v1 90 %, v2 10 %")

	// A name is typed for why and for what followed from it.
	require.NoError(t, chromedp.Do(ctx,
		chromedp.SendKeys(chromedp.CSS(`form[data-question=impact] input`), "flights#3\r"),
		chromedp.WaitVisible(chromedp.CSS(`#answer li[data-event=e3]`)),
		chromedp.SendKeys(chromedp.CSS(`form[data-question=why] input`), "production/flight-delays\r"),
		chromedp.WaitVisible(chromedp.CSS(`#answer li[data-event=e2]`)),
	))
	require.Equal(t, "Why", text(`#past-title`))

	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(address+"/#as-of/9"),
		chromedp.WaitVisible(chromedp.CSS(`#answer [role=alert]`)),
		chromedp.Click(chromedp.CSS(`#past .back a`)),
		chromedp.WaitVisible(chromedp.CSS(`#picture`)),
		chromedp.WaitNotVisible(chromedp.CSS(`#past`)),
	))
}

// Versions, open alerts and parked events are there to click; a parked event is answered
// where it is seen.
func TestAPersonSeesWhatThereIs(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	b := setup(t)
	committed := b.commit(b.check(b.arrive()))
	b.register(committed, 2)
	b.ask(committed, 2)
	b.Settle(t.Context())
	var retried atomic.Bool
	address := suite(t, b, map[string]string{
		"/healthz":       `{"alive":true,"services":["registry","training"]}`,
		"/v1/alerts":     `{"items":[{"alert":"a1","model":"flight-delays","environment":"production","kind":"drift","name":"late <i>share</i>","values":{},"raised":"2001-01-06T00:00:00Z"}]}`,
		"/v1/why/{name}": `{"question":"why","title":"asked","facts":[],"nodes":[{"id":"e1","sequence":9,"type":"io.freshet.monitoring.v1.alert_raised","time":"2001-01-06T00:00:00Z","text":"it drifted"}],"edges":[],"found":1}`,
	}, func(mux *http.ServeMux) {
		mux.HandleFunc("GET /v1/parked/training", func(w http.ResponseWriter, _ *http.Request) {
			items := `{"id":"p1","type":"io.freshet.training.v1.run_completed","namespace":"default","subject":"flight-delays","reason":"panic","behind":2,"time":"2001-01-06T00:00:00Z"},
				{"id":"p2","type":"io.freshet.training.v1.run_completed","namespace":"another","subject":"m","reason":"panic","behind":0,"time":"2001-01-06T00:00:00Z"}`
			if retried.Load() {
				items = ""
			}
			_, _ = w.Write([]byte(`{"items":[` + items + `]}`))
		})
		mux.HandleFunc("POST /v1/parked/training/p1/retry", func(w http.ResponseWriter, r *http.Request) {
			retried.Store(r.Header.Get("Content-Type") == "application/json")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"id":"x","existing":false}`))
		})
	})

	text := reader(ctx, t)
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Navigate(address+"/"),
		chromedp.WaitVisible(chromedp.CSS(`#live.on`)),
		chromedp.Click(chromedp.CSS(`#alerts summary`)),
		chromedp.WaitVisible(chromedp.CSS(`#alerts li`)),
	))
	require.Contains(t, text(`#alerts li`), "late <i>share</i>", "words, not HTML")
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Click(chromedp.CSS(`#alerts a[href="#why/a1"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#answer li[data-event=e1]`)),
		chromedp.Click(chromedp.CSS(`#versions summary`)),
		chromedp.WaitVisible(chromedp.CSS(`#versions a[href="#why/flight-delays@2"]`)),
		chromedp.WaitVisible(chromedp.CSS(`article a[href="#why/flight-delays@2"]`)),
		chromedp.Click(chromedp.CSS(`#parked summary`)),
		chromedp.WaitVisible(chromedp.CSS(`#parked li[data-event=p1]`)),
	))
	require.Contains(t, text(`#parked`), "training could not apply run completed of flight-delays: panic; 2 wait behind it")
	require.Contains(t, text(`#parked .note`), "registry did not answer: ", "one that does not answer is named")
	require.NotContains(t, text(`#parked`), " of m", "another namespace's")
	require.NoError(t, chromedp.Do(ctx,
		chromedp.Click(chromedp.CSS(`#parked li[data-event=p1] button[data-how=retry]`)),
		chromedp.WaitNotPresent(chromedp.CSS(`#parked li[data-event=p1]`)),
	))
	require.True(t, retried.Load())
}

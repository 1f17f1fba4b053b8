package audit_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// recorded is the log of a demo of 14 days, as it was recorded: eight versions, of which
// five passed, canaries, drift, alerts, a change of the code and a file that was refused.
func recorded(t *testing.T, b *bundle) []event.Event {
	t.Helper()
	file, err := os.Open("testdata/flights.ndjson.gz")
	require.NoError(t, err)
	defer file.Close() //nolint:errcheck // only read from
	unpacked, err := gzip.NewReader(file)
	require.NoError(t, err)
	lines := bufio.NewScanner(unpacked)
	lines.Buffer(nil, 1<<20)
	js, err := jetstream.New(b.NATS)
	require.NoError(t, err)
	var log []event.Event
	for lines.Scan() {
		e, err := events.Codec{}.Decode(lines.Bytes())
		require.NoError(t, err)
		subject, err := eventlog.Subject(e)
		require.NoError(t, err)
		_, err = js.Publish(t.Context(), subject, slices.Clone(lines.Bytes()))
		require.NoError(t, err)
		log = append(log, e)
	}
	require.NoError(t, lines.Err())
	b.Clock.Set(log[len(log)-1].Time()) // the suite's, when it was recorded
	b.Settle(t.Context())
	return log
}

type graph struct {
	Question, Asked, Kind, Event, Title string
	Facts                               []struct{ What, Text, Event string }
	Nodes                               []struct {
		ID, Type, Text, Actor string
		Sequence              int64
		More                  bool
	}
	Edges     []struct{ Effect, Cause, Kind string }
	Counts    map[string]int
	Found     int
	Truncated bool
}

func name(typ string) string { return typ[strings.LastIndexByte(typ, '.')+1:] }

func (g graph) types() []string {
	out := make([]string, len(g.Nodes))
	for i, n := range g.Nodes {
		out[i] = name(n.Type)
	}
	return out
}

func (g graph) typeOf(id string) string {
	for _, n := range g.Nodes {
		if n.ID == id {
			return n.Type
		}
	}
	return ""
}

func (g graph) texts() []string {
	out := make([]string, len(g.Nodes))
	for i, n := range g.Nodes {
		out[i] = n.Text
	}
	return out
}

func (g graph) facts(what string) []string {
	var out []string
	for _, f := range g.Facts {
		if f.What == what {
			out = append(out, f.Text)
		}
	}
	return out
}

// has reports whether an event of one type depends on one of another, and how.
func (g graph) has(effect, cause, kind string) bool {
	types := map[string]string{}
	for _, n := range g.Nodes {
		types[n.ID] = name(n.Type)
	}
	for _, e := range g.Edges {
		if types[e.Effect] == effect && types[e.Cause] == cause && e.Kind == kind {
			return true
		}
	}
	return false
}

func (b *bundle) graph(path string) graph {
	b.t.Helper()
	status, _, body := b.get(path)
	require.Equal(b.t, 200, status, "%s: %s", path, body)
	var g graph
	require.NoError(b.t, json.Unmarshal(body, &g))
	return g
}

// The recorded log is asked for everything that an auditor asks of what serves.
func TestWhyNamesEverything(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := recorded(t, b)
	g := b.graph("/v1/why/production/flight-delays")
	require.Equal(t, "production serves flight-delays v7 since 2001-01-18 09:30", g.Title)
	require.Equal(t, []string{"drift, at 2001-01-18 00:00"}, g.facts("because of"))
	require.Equal(t, []string{"commits 1 to 11 of flights; the last is 36277b4b"}, g.facts("data"))
	require.Equal(t, []string{"6f81a945 of flight-delays, branch main"}, g.facts("code"))
	require.Equal(t, []string{"ts-6a3a557298247a4b06270ec06aa2505c: train 146,453, validation 16,785, test 16,727 rows"}, g.facts("training set"))
	require.Equal(t, []string{"bb3b6c8c-80b0-5c87-bb75-d38def5183eb, 0.6 s"}, g.facts("run"))
	require.Equal(t, []string{"useful passed: candidate.auc > naive.auc + 0.05, with candidate.auc 0.6761, naive.auc 0.5",
		"better passed: champion == null || candidate.log_loss < champion.log_loss, with candidate.log_loss 0.4866, champion.log_loss 0.498"}, g.facts("gate"))
	require.Equal(t, []string{"for staging by its rule, at 2001-01-18 00:00", "for production by operator, at 2001-01-18 00:00"}, g.facts("approved"))
	require.Equal(t, []string{"100 % of staging to v7 from 2001-01-18 00:00 on", "10 % of production to v7 from 2001-01-18 00:00 on",
		"50 % of production to v7 from 2001-01-18 08:30 on", "100 % of production to v7 from 2001-01-18 09:30 on"}, g.facts("traffic"))
	require.Equal(t, []string{"departure@1, declared 2001-01-06 00:00", "origin_delays@1, declared 2001-01-06 00:00",
		"route_delays@1, declared 2001-01-15 10:00"}, g.facts("features"))

	// Every data commit up to the training set's is there, and every edge's ends are.
	commits := 0
	for _, n := range g.Nodes {
		if name(n.Type) == "data_committed" {
			commits++
		}
	}
	require.Equal(t, 11, commits)
	known := map[string]int64{}
	for _, n := range g.Nodes {
		known[n.ID] = n.Sequence
	}
	for _, e := range g.Edges {
		require.Contains(t, known, e.Effect)
		require.Contains(t, known, e.Cause)
		require.Greater(t, known[e.Effect], known[e.Cause], "an event rests on earlier ones only")
	}
	// Whatever is told, its cause is told as well, unless the walk ended there and says so.
	causes := map[string]string{}
	for _, e := range log {
		causes[e.ID()] = eventlog.Causation(e)
	}
	for _, n := range g.Nodes {
		if cause := causes[n.ID]; cause != "" && !n.More {
			require.Contains(t, known, cause, n.Text)
		}
	}

	// The same of the version: who let it in, each step of its rollouts, and where it serves.
	v := b.graph("/v1/why/flight-delays@7")
	for _, what := range []string{"because of", "data", "code", "features", "training set", "run", "measured", "gate", "approved", "traffic"} {
		require.NotEmpty(t, g.facts(what), what)
		require.Equal(t, g.facts(what), v.facts(what), what)
	}
	require.Equal(t, []string{"100 % of production, champion since 2001-01-18 09:30"}, v.facts("serves"), "v8 serves in staging")
	require.Equal(t, "candidate_passed", name(v.typeOf(v.Event)))
	for _, n := range g.Nodes {
		require.Contains(t, v.texts(), n.Text)
	}
	then := b.graph("/v1/why/flight-delays@7?at=2001-01-18T09:00:00Z")
	require.Equal(t, []string{"50 % of production, in its rollout", "100 % of staging, champion since 2001-01-18 00:00"}, then.facts("serves"))
	require.Equal(t, []string{"nowhere"}, b.graph("/v1/why/flight-delays@4").facts("serves"))
	require.Contains(t, b.graph("/v1/why/flight-delays@4").facts("traffic"), "100 % of production to v4 from 2001-01-14 10:00 on")
	require.Empty(t, b.graph("/v1/why/flight-delays@3").facts("serves"), "it was refused")

	// As it was before, and of other things.
	require.Equal(t, "production serves flight-delays v2 since 2001-01-12 09:30", b.graph("/v1/why/production/flight-delays?at=2001-01-13T00:00:00Z").Title)
	require.Equal(t, "production serves flight-delays v1 since 2001-01-09 00:00", b.graph("/v1/why/production/flight-delays?at=95").Title)
	refused := b.graph("/v1/why/flight-delays@3")
	require.Equal(t, "candidate_refused", refused.types()[0])
	require.Equal(t, "v3 was refused by better (candidate.log_loss 0.4794, champion.log_loss 0.4794)", refused.Title)
	require.Equal(t, refused.Event, b.graph("/v1/why/flight-delays@v3").Event)
	alert := b.graph("/v1/why/efd83ed4-5ccb-5bb2-a2e8-249468e62378")
	require.Equal(t, "alert", alert.Kind)
	require.True(t, alert.has("alert_raised", "champion_changed", "champion"))
	require.Contains(t, alert.types(), "window_closed")
	require.Contains(t, alert.types(), "model_version_registered", "an alert is about a version, which is explained")
	require.Equal(t, alert.Event, b.graph("/v1/why/efd83ed4").Event, "the beginning of a name will do")
	require.Equal(t, "run", b.graph("/v1/why/bb3b6c8c-80b0-5c87-bb75-d38def5183eb").Kind)
	for _, e := range log { // any event can be asked about, by its id or its place
		require.Equal(t, e.ID(), b.graph("/v1/why/"+e.ID()).Event)
	}
	require.Equal(t, log[99].ID(), b.graph("/v1/why/100").Event)
}

func TestImpactIsWhyTheOtherWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := recorded(t, b)
	data := b.graph("/v1/impact/" + url.PathEscape("flights#7") + "?limit=2000")
	require.Equal(t, "data commit 7 of flights added 16,755 rows of 2001-01-11 15:30 to 2001-01-12 23:59", data.Title)
	for _, e := range log {
		if p, err := events.Parse[events.DataCommitted](e); e.Type() == events.TypeDataCommitted && p.Number == 7 {
			require.NoError(t, err)
			require.Equal(t, data.Event, b.graph("/v1/impact/"+p.Commit).Event, "by its digest")
			require.Equal(t, data.Event, b.graph("/v1/impact/"+strings.TrimPrefix(p.Commit, "sha256:")[:8]).Event, "by the beginning of its digest")
		}
	}
	in := map[string]bool{}
	for _, n := range data.Nodes {
		in[n.ID] = true
	}
	sum := 0
	for _, n := range data.Counts {
		sum += n
	}
	require.Equal(t, data.Found, sum)
	require.Len(t, data.Nodes, data.Found+1)

	// Each training set with the commit's rows followed from it, and no other.
	for i, e := range log {
		if e.Type() != events.TypeTrainingSetBuilt {
			continue
		}
		p, err := events.Parse[events.TrainingSetBuilt](e)
		require.NoError(t, err)
		require.Equal(t, p.Data[0].Number >= 7, in[e.ID()], "the training set at %d has commits 1 to %d", i+1, p.Data[0].Number)
	}
	// What followed from it names it, or something that followed from it, among its own causes.
	for _, n := range data.Nodes[1:] {
		why := b.graph("/v1/why/" + n.ID)
		found := false
		for _, w := range why.Nodes {
			found = found || w.ID != n.ID && in[w.ID]
		}
		require.True(t, found, "%d %s", n.Sequence, n.Text)
	}

	code := b.graph("/v1/impact/6f81a94556a1")
	require.Equal(t, "code commit 6f81a945 of flight-delays, branch main", code.Title)
	require.Equal(t, 3, code.Counts[events.TypeModelVersionRegistered], "v6, v7 and v8 were trained with it")
	require.Equal(t, 1, code.Counts[events.TypeFeatureViewDeclared])

	// A bound keeps what weighs most, joined as it was, and counts everything.
	few := b.graph("/v1/impact/" + url.PathEscape("flights#7") + "?limit=20")
	require.Len(t, few.Nodes, 20)
	require.Equal(t, data.Found, few.Found)
	require.Equal(t, data.Counts, few.Counts)
	require.Equal(t, data.Event, few.Nodes[0].ID)
	below := map[string]bool{few.Event: true}
	for _, n := range few.Nodes {
		for _, e := range few.Edges {
			if e.Effect == n.ID && below[e.Cause] {
				below[n.ID] = true
			}
		}
		require.True(t, below[n.ID], "%s hangs on nothing", n.Text)
	}
}

// How a parked event was answered came of that event.
func TestImpactShowsHowAParkedEventWasResolved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	champion := b.scenario()
	e := event.New()
	e.SetType(events.TypeRegistryEventDiscarded)
	e.SetSubject(champion.ID())
	e.SetDataSchema("https://freshet.io/contracts/registry/v1/event_discarded.json")
	e.SetExtension("namespace", namespace)
	require.NoError(t, e.SetData(event.ApplicationJSON, events.EventDiscarded{Event: champion.ID()}))
	discarded := b.then(event.Event{}, e, nil)
	b.Settle(t.Context())
	impact := b.graph("/v1/impact/" + champion.ID())
	require.Equal(t, 1, impact.Counts[events.TypeRegistryEventDiscarded])
	require.Equal(t, discarded.ID(), impact.Nodes[len(impact.Nodes)-1].ID)
	why := b.graph("/v1/why/" + discarded.ID())
	require.Contains(t, why.types(), name(champion.Type()), "what was discarded, and all behind it")
}

func TestPicturesAreWellFormed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	recorded(t, b)
	for _, path := range []string{"/v1/why/production/flight-delays", "/v1/why/flight-delays@3", "/v1/impact/1", "/v1/impact/" + url.PathEscape("flights#14")} {
		status, header, body := b.get(path + "?format=svg")
		require.Equal(t, 200, status, "%s", body)
		require.Equal(t, "image/svg+xml", header.Get("Content-Type"))
		require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'")
		g := b.graph(path)
		require.Contains(t, string(body), `data-event="`+g.Event+`"`)
		d := xml.NewDecoder(bytes.NewReader(body))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, path)
			if start, ok := token.(xml.StartElement); ok {
				require.NotContains(t, []string{"script", "foreignObject", "a", "image"}, start.Name.Local)
			}
		}
		_, _, again := b.get(path + "?format=svg")
		require.Equal(t, string(body), string(again), "the same graph is the same picture")
	}
}

func TestNamesThatAreNot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	problem := func(path string, status int) string {
		got, _, body := b.get(path)
		require.Equal(t, status, got, "%s: %s", path, body)
		var p struct{ Detail string }
		require.NoError(t, json.Unmarshal(body, &p))
		return p.Detail
	}
	require.Equal(t, `namespace "default" has no events; there is nothing yet`, problem("/v1/why/production/x", 404))
	recorded(t, b)
	require.Equal(t, `nothing is called "flight-delays@99" in namespace "default"; there are staging/flight-delays, production/flight-delays, `+
		`flight-delays@8, flight-delays@7, flight-delays@6, flight-delays@5, flight-delays@4, efd83ed4-5ccb-5bb2-a2e8-249468e62378, `+
		`flights#14, flights#13, flights#12, flights#11, flights#10, 6f81a94556a1`, problem("/v1/why/flight-delays@99", 404))
	require.Equal(t, `namespace "other" has no events; there are default`, problem("/v1/impact/nothing?namespace=other", 404))
	require.Equal(t, `namespace "other" has no events; there are default`, problem("/v1/as-of/now?namespace=other", 404))
	require.Contains(t, problem("/v1/why/999999", 404), "there is no position 999999; the log that is indexed goes from 1 to ")
	require.Contains(t, problem("/v1/events/999999", 404), "the log that is indexed goes from 1 to ")
	require.Contains(t, problem("/v1/why/production/flight-delays?at=1999-12-31", 404), "at 1999-12-31")
	require.Contains(t, problem("/v1/why/flight-delays@7?at=9", 404), `nothing was called "flight-delays@7" in namespace "default" at 9; leave out --at`)
	require.Contains(t, problem("/v1/impact/flight-delays@7?at=9", 404), "leave out --at")
	require.Contains(t, problem("/v1/why/100?at=9", 404), "leave out --at", "an event of the log, later")
	require.Contains(t, problem("/v1/as-of/now?model=delays", 404), "there are flight-delays")
	require.Contains(t, problem("/v1/as-of/999", 400), "the log that is indexed goes from 1 to ")
	require.Contains(t, problem("/v1/as-of/9999-01-01", 400), "has not come yet")
	require.Contains(t, problem("/v1/as-of/yesterday", 400), "write a position such as 812")
	require.Contains(t, problem("/v1/why/"+strings.Repeat("x", 300), 400), "1 to 256 printable characters")
	require.Contains(t, problem("/v1/why/a%00b", 400), "printable")
	require.Contains(t, problem("/v1/why/a%ffb", 400), "printable")
	require.Contains(t, problem("/v1/why/flight-delays@3?format=png", 400), "json or svg")
	require.Contains(t, problem("/v1/impact/flight-delays@3?limit=0", 400), "1 to 2000")
	require.Contains(t, problem("/v1/why/"+url.PathEscape("'; DROP TABLE events; --"), 404), "nothing is called")
}

// An ambiguous beginning is answered with what it begins.
func TestAmbiguousBeginnings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, id := range []string{"abcdef-1", "abcdef-2"} {
		e, err := events.NewCodePushed(namespace, "flights", events.CodePushed{Repository: "flights", URL: "/srv/flights", Branch: "main",
			Revision: revision, Via: "watch"})
		require.NoError(t, err)
		e.SetID(id)
		b.Foreign(eventlog.Cause{}, e)
	}
	b.Settle(t.Context())
	status, _, body := b.get("/v1/why/abcdef")
	require.Equal(t, 400, status)
	require.Contains(t, string(body), "begins several names; write more of it: abcdef-1, abcdef-2")
	require.Equal(t, "abcdef-1", b.graph("/v1/why/abcdef-1").Event)
	status, _, _ = b.get("/v1/why/abcd")
	require.Equal(t, 404, status, "too short to stand for anything")
}

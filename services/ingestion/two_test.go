package ingestion_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/stretchr/testify/require"
)

// second is another repository of the same suite.
func (b *bundle) second(name string, files map[string]string) *bundle {
	b.t.Helper()
	o := *b
	o.repo = b.t.TempDir()
	o.commit("first", files)
	status, body := b.do("POST", "/v1/repositories", "application/json", fmt.Sprintf(`{"name":%q,"url":%q,"branch":"main"}`, name, o.repo))
	require.Equal(b.t, http.StatusCreated, status, body)
	return &o
}

func TestRepositoriesMeetByName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// A model before its data: the reference is a mistake with its line.
	models := b.second("models", map[string]string{"freshet.yaml": modelYAML})
	r := parse[events.CodeRejected](t, b.AwaitType(events.TypeCodeRejected, 1))
	require.Equal(t, "invalid", r.Reason)
	require.Contains(t, r.Problems[0].Fix, "connect the repository that does")

	data := b.second("data", map[string]string{"datasets/flights.yaml": datasetYAML, "features/origin_delays.yaml": viewYAML})
	b.AwaitType(events.TypeCodeCommitted, 1)
	models.commit("again", map[string]string{"freshet.yaml": modelYAML + "mode: act\n"})
	first := parse[events.ModelDeclared](t, b.AwaitType(events.TypeModelDeclared, 1))
	require.True(t, first.TrainingChanged)

	// A view that changes elsewhere declares the models that use its newest version again.
	data.commit("window", map[string]string{"features/origin_delays.yaml": strings.Replace(viewYAML, "3h", "6h", 1)})
	again := parse[events.ModelDeclared](t, b.AwaitType(events.TypeModelDeclared, 2))
	require.True(t, again.TrainingChanged)
	require.Equal(t, first.Code, again.Code)
	require.Equal(t, first.SpecDigest, again.SpecDigest)
	// A description changes nothing.
	data.commit("words", map[string]string{"features/origin_delays.yaml": strings.Replace(viewYAML, "3h", "6h", 1) + "description: how late an airport is\n"})
	b.AwaitType(events.TypeCodeCommitted, 4)

	// A name belongs to who had it first.
	b.second("thief", map[string]string{"datasets/flights.yaml": datasetYAML})
	r = parse[events.CodeRejected](t, b.AwaitType(events.TypeCodeRejected, 2))
	require.Equal(t, "thief", r.Repository)
	require.Contains(t, r.Problems[0].Message, "belongs to the repository data")
	b.Settle(t.Context())
	n := 0
	for _, e := range b.Events() {
		if e.Type() == events.TypeModelDeclared {
			n++
		}
	}
	require.Equal(t, 2, n)
}

func TestDataBeforeItsDeclaration(t *testing.T) {
	t.Parallel()
	b := setup(t)
	uri := b.upload(csv("a,2001-01-05,1,A,B"))
	b.do("POST", "/v1/arrivals", structured, arrival("early", "flights", uri))
	require.Equal(t, "unknown_dataset", parse[events.DataRejected](t, b.AwaitType(events.TypeDataRejected, 1)).Reason)
	b.declare()
	b.do("POST", "/v1/arrivals", structured, arrival("later", "flights", uri))
	b.AwaitType(events.TypeDataCommitted, 1)
}

func TestAnArrivalThatCannotBlameRowsIsRejectedWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := definitions()
	files["datasets/flights.yaml"] = strings.Replace(datasetYAML, "SELECT * FROM data WHERE origin = destination",
		"SELECT count(*) AS n FROM data HAVING count(*) < 3", 1)
	files["datasets/kept.yaml"] = "dataset: kept\nkeys: [id]\ntime: ts\nexpect: {columns: {v: {type: float, range: [0, 1]}}}\non_failure: {rows: keep, " +
		"reject_commit_above: 50%}\n"
	files["datasets/wrong.yaml"] = "dataset: wrong\nkeys: [id]\ntime: ts\nexpect: {sql: {x: SELECT nosuch FROM data}}\n"
	files["datasets/nosy.yaml"] = "dataset: nosy\nkeys: [id]\ntime: ts\nexpect: {sql: {x: \"SELECT * FROM data WHERE getenv('HOME') <> ''\"}}\n"
	b.commit("first", files)
	b.connect()
	b.AwaitType(events.TypeModelDeclared, 1)
	b.do("POST", "/v1/arrivals", structured, arrival("1", "flights", b.upload(csv("a,2001-01-05,1,A,B"))))
	r := parse[events.DataRejected](t, b.AwaitType(events.TypeDataRejected, 1))
	require.Equal(t, "too_many_failures", r.Reason)
	require.Equal(t, []events.RuleFailure{{Rule: "whole:sql:no_loops", Rows: 1}}, r.Failures)

	b.do("POST", "/v1/arrivals", structured, arrival("2", "kept",
		b.upload("id,ts,v\n1,2001-01-05,0.5\n2,2001-01-05,7\n3,2001-01-05,inf\n4,2001-01-05,0.1\n5,2001-01-05,0.2\n")))
	c := parse[events.DataCommitted](t, b.AwaitType(events.TypeDataCommitted, 1))
	require.EqualValues(t, 4, c.Rows, "the value out of range is kept, infinity is no number")
	require.EqualValues(t, 1, c.Quarantined)

	for i, dataset := range []string{"wrong", "nosy"} {
		b.do("POST", "/v1/arrivals", structured, arrival("3"+dataset, dataset, b.upload("id,ts\n"+dataset+",2001-01-05\n")))
		r = parse[events.DataRejected](t, b.AwaitType(events.TypeDataRejected, 2+i))
		require.Equal(t, "schema", r.Reason, dataset)
	}
}

package serving

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/services/deployment/internal/features"
	"github.com/freshet-io/freshet/services/deployment/internal/record"
	"github.com/freshet-io/freshet/services/deployment/internal/wire"
	"github.com/stretchr/testify/require"
)

// store is an object store in memory.
type store map[string][]byte

func (s store) Get(_ context.Context, digest string, _ int64) ([]byte, error) {
	if b, ok := s[digest]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("no object %s", digest)
}

// airports answers late_share by the airport's name and log_distance by distance,
// and counts the requests.
type airports struct {
	asked []string
	fails string // a feature that it cannot answer
}

func (a *airports) Get(_ context.Context, _ string, entities []features.Entity, wanted []features.Feature, rows int) ([][]float64, error) {
	a.asked = append(a.asked, fmt.Sprintf("%d features, %d entities", len(wanted), len(entities)))
	columns := map[string][]any{}
	for _, e := range entities {
		var v []any
		if err := json.Unmarshal(e.Values, &v); err != nil {
			return nil, err
		}
		columns[e.Name] = v
	}
	out := make([][]float64, len(wanted))
	for i, f := range wanted {
		if f.Feature == a.fails {
			return nil, features.ErrUnavailable
		}
		for r := range rows {
			switch f.Feature {
			case "late_share":
				switch columns["airport"][r] {
				case "ORD":
					out[i] = append(out[i], 0.4)
				case "BOS":
					out[i] = append(out[i], 0.1)
				default:
					out[i] = append(out[i], math.NaN())
				}
			case "log_distance":
				d, ok := columns["distance"][r].(float64)
				if ok && d <= 0 {
					return nil, &features.Refusal{Message: "distance is not positive"}
				}
				if !ok {
					return nil, fmt.Errorf("distance is %v", columns["distance"][r])
				}
				out[i] = append(out[i], math.Log(d))
			}
		}
	}
	return out, nil
}

func column(name, view, feature string, missing *float64) events.FeatureColumn {
	return events.FeatureColumn{Name: name, View: view, Version: 1, Feature: feature, Missing: missing}
}

// version is a logistic regression whose bias tells the versions apart.
func version(t testing.TB, number int64, bias float64, columns ...events.FeatureColumn) *Version {
	t.Helper()
	n := len(columns)
	mean, scale, weights, names := make([]float64, n), make([]float64, n), make([]float64, n), make([]string, n)
	for i, c := range columns {
		scale[i], weights[i], names[i] = 1, 1, c.Name
	}
	b, err := onnx.Logistic(mean, scale, weights, bias, "features", names)
	require.NoError(t, err)
	m, err := NewCache(store{"d": b}).Load(t.Context(), "d", columns)
	require.NoError(t, err)
	v := &Version{Number: number, Columns: columns, model: m,
		Uses: []events.FeatureUse{
			{View: "origin_delays", Version: 1, Entity: []events.EntityKey{{Key: "airport", Column: "origin"}}},
			{View: "departure", Version: 1, Request: []string{"distance"}},
		},
		Fields: []events.TypedField{{Name: "flight_id", Type: "string"}, {Name: "date", Type: "timestamp"},
			{Name: "origin", Type: "string"}, {Name: "distance", Type: "int64"}},
		Prediction: []events.TypedField{{Name: "late", Type: "float"}},
	}
	for _, c := range columns {
		v.names = append(v.names, featureOf(c).Name())
	}
	v.plan, err = planOf(v)
	require.NoError(t, err)
	return v
}

func environment(t testing.TB, champion, candidate *Version, weight int64) *Environment {
	t.Helper()
	e := &Environment{Namespace: "default", Model: "m", Environment: "production", Key: "flight_id", Champion: champion, Candidate: candidate,
		Weight: weight, seed: 7}
	if candidate != nil {
		var err error
		e.joint, err = planOf(champion, candidate)
		require.NoError(t, err)
	}
	return e
}

func flights(t *testing.T, n int, extra string) *wire.Request {
	t.Helper()
	var ids, origins, distances []string
	for i := range n {
		ids = append(ids, strconv.Quote("f"+strconv.Itoa(i)))
		origins = append(origins, strconv.Quote([]string{"ORD", "BOS", "XXX"}[i%3]))
		distances = append(distances, strconv.Itoa(100*(i+1)))
	}
	tensor := func(name, datatype string, data []string) string {
		return fmt.Sprintf(`{"name":%q,"shape":[%d],"datatype":%q,"data":[%s]}`, name, n, datatype, strings.Join(data, ","))
	}
	body := `{"inputs":[` + tensor("flight_id", "BYTES", ids) + "," + tensor("origin", "BYTES", origins) + "," + tensor("distance", "INT64", distances) +
		extra + `]}`
	r, err := wire.Parse([]byte(body), "", 10_000)
	require.NoError(t, err)
	return r
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

var fifth = 0.2

func TestPredictLooksFeaturesUpOnceForAllRows(t *testing.T) {
	t.Parallel()
	e := environment(t, version(t, 1, 0.5, column("late_share", "origin_delays", "late_share", &fifth),
		column("log_distance", "departure", "log_distance", nil)), nil, 0)
	server := &airports{}
	p, failure := e.Predict(t.Context(), server, flights(t, 3, ""), nil)
	require.Nil(t, failure)
	require.Equal(t, []string{"2 features, 2 entities"}, server.asked)
	require.Equal(t, []string{"f0", "f1", "f2"}, p.Keys)
	require.Equal(t, "flight_id", p.KeyName)
	require.Equal(t, []int64{1}, p.Versions)
	for i, share := range []float64{0.4, 0.1, 0.2} { // the last is what stands in
		require.InDelta(t, logistic(share+math.Log(100*float64(i+1))+0.5), p.Outputs[0].Values[i], 1e-6)
		require.Equal(t, share, p.Features[0].Values[i])
	}
}

func TestSplitScoresEveryRowWithItsVersion(t *testing.T) {
	t.Parallel()
	share := column("late_share", "origin_delays", "late_share", &fifth)
	champion := version(t, 1, -1, share)
	candidate := version(t, 2, 1, share, column("log_distance", "departure", "log_distance", nil))
	e := environment(t, champion, candidate, 50)
	server := &airports{}
	p, failure := e.Predict(t.Context(), server, flights(t, 1000, ""), nil)
	require.Nil(t, failure)
	require.Len(t, server.asked, 1, "both versions' features come in one request")
	candidates := 0
	for i, v := range p.Versions {
		s := []float64{0.4, 0.1, 0.2}[i%3]
		if v == 2 {
			candidates++
			require.InDelta(t, logistic(s+math.Log(100*float64(i+1))+1), p.Outputs[0].Values[i], 1e-6)
			require.False(t, math.IsNaN(p.Features[1].Values[i]))
		} else {
			require.InDelta(t, logistic(s-1), p.Outputs[0].Values[i], 1e-6)
			require.True(t, math.IsNaN(p.Features[1].Values[i]), "the champion never saw this column")
		}
	}
	require.InDelta(t, 500, candidates, 60)
	again, failure := e.Predict(t.Context(), server, flights(t, 1000, ""), nil)
	require.Nil(t, failure)
	require.Equal(t, p.Versions, again.Versions)
}

func TestCandidatesFaultsAreSparedTheCaller(t *testing.T) {
	t.Parallel()
	share := column("late_share", "origin_delays", "late_share", &fifth)
	e := environment(t, version(t, 1, 0, share), version(t, 2, 0, share, column("log_distance", "departure", "log_distance", nil)), 30)
	p, failure := e.Predict(t.Context(), &airports{fails: "log_distance"}, flights(t, 500, ""), nil)
	require.Nil(t, failure)
	require.Equal(t, []int64{1}, p.Versions)
	require.NotNil(t, p.Spared)
	require.Equal(t, int64(2), p.Spared.Version)
	require.Equal(t, record.FeaturesUnavailable, p.Spared.Failure.Code)
	require.InDelta(t, 150, len(p.Spared.Keys), 40)

	p, failure = e.Predict(t.Context(), &airports{fails: "late_share"}, flights(t, 500, ""), nil)
	require.NotNil(t, failure, "a server that fails both fails the request")
	require.Len(t, p.Versions, 500, "and both versions' error rates")
}

func TestGivenFeaturesNeedNoLookup(t *testing.T) {
	t.Parallel()
	e := environment(t, version(t, 1, 0, column("late_share", "origin_delays", "late_share", nil)), nil, 0)
	r, err := wire.Parse([]byte(`{"inputs":[{"name":"late_share","shape":[2,1],"datatype":"FP64","data":[[0.5],[1]]}]}`), "", 10)
	require.NoError(t, err)
	server := &airports{}
	p, failure := e.Predict(t.Context(), server, r, nil)
	require.Nil(t, failure)
	require.Empty(t, server.asked)
	require.InDelta(t, logistic(0.5), p.Outputs[0].Values[0], 1e-6)
	require.Len(t, p.Keys, 2)
}

func TestRefusalsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	e := environment(t, version(t, 1, 0, column("late_share", "origin_delays", "late_share", nil)), nil, 0)
	for name, c := range map[string]struct{ inputs, code, says string }{
		"missing": {`{"name":"flight_id","shape":[1],"datatype":"BYTES","data":["a"]}`, record.InvalidRequest, `input "origin" is missing`},
		"unknown": {`{"name":"orign","shape":[1],"datatype":"BYTES","data":["a"]}`, record.InvalidRequest, "neither a request field nor a feature"},
		"type":    {`{"name":"distance","shape":[1],"datatype":"FP64","data":[1]}`, record.InvalidRequest, "a int64 is an integer type"},
		"time":    {`{"name":"date","shape":[1],"datatype":"BYTES","data":["yesterday"]}`, record.InvalidRequest, "RFC 3339"},
		"rows": {`{"name":"origin","shape":[1],"datatype":"BYTES","data":["a"]},{"name":"distance","shape":[2],"datatype":"INT64","data":[1,2]}`,
			record.InvalidRequest, "has 2 rows"},
		"shape":    {`{"name":"origin","shape":[1,2],"datatype":"BYTES","data":["a","b"]}`, record.InvalidRequest, "one value a row"},
		"no value": {`{"name":"origin","shape":[1],"datatype":"BYTES","data":["XXX"]}`, record.FeatureMissing, `no value for feature "late_share"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := wire.Parse([]byte(`{"inputs":[`+c.inputs+`]}`), "", 10)
			require.NoError(t, err)
			_, failure := e.Predict(t.Context(), &airports{}, r, nil)
			require.NotNil(t, failure)
			require.Equal(t, c.code, failure.Code)
			require.Contains(t, failure.Detail, c.says)
		})
	}
}

func TestARefusalNamesTheInputAndTheFeatureThatNeedsIt(t *testing.T) {
	t.Parallel()
	e := environment(t, version(t, 1, 0, column("late_share", "origin_delays", "late_share", nil), column("log_distance", "departure", "log_distance",
		nil)), nil, 0)
	ask := func(inputs string) *Failure {
		r, err := wire.Parse([]byte(`{"inputs":[{"name":"origin","shape":[1],"datatype":"BYTES","data":["ORD"]}`+inputs+`]}`), "", 10)
		require.NoError(t, err)
		_, failure := e.Predict(t.Context(), &airports{}, r, nil)
		return failure
	}
	failure := ask("")
	require.NotNil(t, failure)
	require.Equal(t, record.InvalidRequest, failure.Code)
	require.Equal(t, `input "distance" is missing; version 1 needs it for departure@1:log_distance`, failure.Detail)

	failure = ask(`,{"name":"distance","shape":[1],"datatype":"INT64","data":[0]}`)
	require.NotNil(t, failure)
	require.Equal(t, record.InvalidRequest, failure.Code, "it is the caller's value, not the server's or the model's fault")
	require.Equal(t, "the features cannot be computed: distance is not positive", failure.Detail)
	require.Nil(t, ask(`,{"name":"distance","shape":[1],"datatype":"INT64","data":[1]}`))
	require.Nil(t, ask(`,{"name":"log_distance","shape":[1],"datatype":"FP64","data":[0]}`), "a given feature needs no input")
}

func TestViewsThatReadOneKeyFromTwoColumnsAreAskedApart(t *testing.T) {
	t.Parallel()
	v := &Version{Number: 1,
		Columns: []events.FeatureColumn{column("a", "origin_delays", "late_share", nil), column("b", "destination_delays", "late_share", nil),
			column("c", "departure", "hour", nil)},
		Uses: []events.FeatureUse{
			{View: "origin_delays", Version: 1, Entity: []events.EntityKey{{Key: "airport", Column: "origin"}}},
			{View: "destination_delays", Version: 1, Entity: []events.EntityKey{{Key: "airport", Column: "destination"}}},
			{View: "departure", Version: 1, Request: []string{"date"}},
		}}
	p, err := planOf(v)
	require.NoError(t, err)
	require.Len(t, p.groups, 2)
	require.Len(t, p.groups[0].features, 2)
}

func TestLoadChecksTheSignature(t *testing.T) {
	t.Parallel()
	b, err := onnx.Logistic([]float64{0, 0}, []float64{1, 1}, []float64{1, 0}, 0, "x", []string{"a", "b"})
	require.NoError(t, err)
	c := NewCache(store{"d": b, "bad": []byte("no model")})
	_, err = c.Load(t.Context(), "d", []events.FeatureColumn{{Name: "a"}})
	require.ErrorIs(t, err, ErrSignature)
	_, err = c.Load(t.Context(), "d", []events.FeatureColumn{{Name: "a"}, {Name: "z"}})
	require.ErrorIs(t, err, ErrSignature)
	_, err = c.Load(t.Context(), "gone", nil)
	require.ErrorIs(t, err, ErrObject)
	_, err = c.Load(t.Context(), "bad", nil)
	require.ErrorIs(t, err, onnx.ErrMalformed)

	m, err := c.Load(t.Context(), "d", []events.FeatureColumn{{Name: "b"}, {Name: "a"}})
	require.NoError(t, err)
	scores, err := m.Score([]float64{100, 2}, 1)
	require.NoError(t, err)
	require.InDelta(t, logistic(2), scores[0], 1e-6, "columns go by name, whatever their order")
}

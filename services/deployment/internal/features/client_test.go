package features

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func answering(t *testing.T, status int, body string, asked *string) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		if asked != nil {
			*asked = r.URL.String() + " " + string(raw)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return New(server.URL, "", time.Minute)
}

var wanted = []Feature{{"origin", 2, "late_share"}, {"route", 1, "late_share"}, {"departure", 1, "hour"}}

func TestGetReadsFeastsAnswer(t *testing.T) {
	t.Parallel()
	var asked string
	c := answering(t, http.StatusOK, `{"metadata":{"feature_names":["airport","route__late_share","origin@2__late_share","hour"]},"results":[
		{"values":["ORD","BOS"],"statuses":["PRESENT","PRESENT"],"event_timestamps":[]},
		{"values":[0.25,1],"statuses":["PRESENT","OUTSIDE_MAX_AGE"],"event_timestamps":[]},
		{"values":[null,0.5],"statuses":["NOT_FOUND","PRESENT"],"event_timestamps":[]},
		{"values":[3,4]}]}`, &asked)
	got, err := c.Get(t.Context(), "team-a", []Entity{{"airport", json.RawMessage(`["ORD","BOS"]`)}}, wanted, 2)
	require.NoError(t, err)
	require.Equal(t, `/get-online-features?namespace=team-a {"entities":{"airport":["ORD","BOS"]},"features":["origin@2:late_share","route@1:late_share","departure@1:hour"],"full_feature_names":true}`, asked)
	require.True(t, math.IsNaN(got[0][0]))
	require.Equal(t, 0.5, got[0][1])
	require.Equal(t, 0.25, got[1][0])
	require.True(t, math.IsNaN(got[1][1]), "a value past its age is none")
	require.Equal(t, []float64{3, 4}, got[2])
}

func TestRefusedValuesAreNotAnOutage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"Feast's":    {422, `"{\"module\":\"feast.errors\",\"class\":\"FeastError\",\"message\":\"view \\\"departure\\\": log(0)\"}"`, `view "departure": log(0)`},
		"an object":  {422, `{"message":"log(0)"}`, "log(0)"},
		"a detail":   {400, `{"detail":"log(0)"}`, "log(0)"},
		"plain text": {400, `log(0)`, "log(0)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, c.status, c.body, nil).Get(t.Context(), "default", nil, wanted, 1)
			require.NotErrorIs(t, err, ErrUnavailable)
			var refusal *Refusal
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, c.says, refusal.Message)
		})
	}
}

func TestAnythingElseIsUnavailable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"an error":       {500, `"{\"module\":\"feast\"}"`},
		"no JSON":        {200, `<html>`},
		"a lack":         {200, `{"metadata":{"feature_names":["hour"]},"results":[{"values":[1]}]}`},
		"ambiguous":      {200, `{"metadata":{"feature_names":["late_share","late_share","hour"]},"results":[{"values":[1]},{"values":[1]},{"values":[1]}]}`},
		"too few values": {200, `{"metadata":{"feature_names":["origin__late_share","route__late_share","hour"]},"results":[{"values":[]},{"values":[1]},{"values":[1]}]}`},
		"text":           {200, `{"metadata":{"feature_names":["origin__late_share","route__late_share","hour"]},"results":[{"values":["x"]},{"values":[1]},{"values":[1]}]}`},
		"uneven":         {200, `{"metadata":{"feature_names":["hour"]},"results":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, c.status, c.body, nil).Get(t.Context(), "default", nil, wanted, 1)
			require.ErrorIs(t, err, ErrUnavailable)
		})
	}
	_, err := New("http://127.0.0.1:1", "", time.Minute).Get(t.Context(), "default", nil, wanted, 1)
	require.ErrorIs(t, err, ErrUnavailable)
}

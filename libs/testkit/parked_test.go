package testkit_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"
)

func TestAParkedEventIsListedAndAnsweredOverHTTP(t *testing.T) {
	t.Parallel()
	var well atomic.Bool
	fold := eventlog.NewFold("counter", 1, `CREATE TABLE asks (id text PRIMARY KEY)`)
	fold.Apply(asked, func(_ context.Context, tx *eventlog.Tx, e event.Event) error {
		if !well.Load() {
			return errors.New("not now")
		}
		tx.Exec("INSERT INTO asks VALUES ($1)", e.ID())
		return nil
	})
	parks := service.Events{Codec: codec{}, IsDecision: func(typ string) bool { return strings.HasSuffix(typ, "event_parked") }}
	r := testkit.Service(t, "counter", parks, fx.Supply(fold))
	post := func(path, contentType string) int {
		res, err := http.Post(r.URL+"/v1/parked/counter/"+path, contentType, strings.NewReader("{}"))
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	first := r.Foreign(eventlog.Cause{}, draft(asked, "tea"))[0].ID()
	second := r.Foreign(eventlog.Cause{}, draft(asked, "tea"))[0].ID()
	r.Settle(t.Context())
	_, body := get(t, r.URL+"/v1/parked/counter")
	require.Contains(t, body, `"id":"`+first+`"`)
	require.Contains(t, body, `"behind":1`)
	require.NotContains(t, body, second)

	require.Equal(t, http.StatusUnsupportedMediaType, post(first+"/retry", "text/plain"))
	require.Equal(t, http.StatusBadRequest, post(first+"/forget", "application/json"))
	require.Equal(t, http.StatusNotFound, post(second+"/retry", "application/json"))
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL+"/v1/parked/counter/"+first+"/retry", strings.NewReader("{}"))
	require.NoError(t, err)
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Freshet-Actor", "Ada Lovelace")
	res, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusBadRequest, res.StatusCode, "a name is no actor")
	well.Store(true)
	require.Equal(t, http.StatusCreated, post(first+"/discard", "application/json"))
	require.Equal(t, http.StatusNotFound, post(first+"/discard", "application/json"))
	_, body = get(t, r.URL+"/v1/parked/counter")
	require.JSONEq(t, `{"items":[]}`, body)
	var applied string
	require.NoError(t, r.Pool.QueryRow(t.Context(), "SELECT string_agg(id, ' ') FROM asks").Scan(&applied))
	require.Equal(t, second, applied)
}

package testkit_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"
)

// codec is as strict as this test needs it.
type codec struct{}

func (codec) Encode(e event.Event) ([]byte, error) { return json.Marshal(e) }

func (codec) Decode(b []byte) (e event.Event, err error) {
	err = json.Unmarshal(b, &e)
	return e, err
}

var language = service.Events{Codec: codec{}, IsDecision: func(typ string) bool { return strings.HasSuffix(typ, "_counted") }}

func draft(typ, subject string) event.Event {
	e := event.New()
	e.SetType(typ)
	e.SetSubject(subject)
	e.SetExtension("namespace", "default")
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(`{}`)
	return e
}

const (
	asked   = "io.freshet.asker.v1.asked"
	counted = "io.freshet.counter.v1.ask_counted"
	done    = "io.freshet.counter.v1.work_done"
)

// module counts what another service asks, does some work for it, and serves the count.
func module() fx.Option {
	fold := eventlog.NewFold("counter", 1, `CREATE TABLE counts (subject text COLLATE "C" PRIMARY KEY, n bigint NOT NULL)`)
	fold.Decide(asked, func(_ context.Context, _ eventlog.Reader, e event.Event, _ time.Time) ([]event.Event, error) {
		return []event.Event{draft(counted, e.Subject())}, nil
	})
	fold.Apply(counted, func(_ context.Context, tx *eventlog.Tx, e event.Event) error {
		tx.Exec(`INSERT INTO counts VALUES ($1, 1) ON CONFLICT (subject) DO UPDATE SET n = counts.n + 1`, e.Subject())
		tx.Open(eventlog.Effect{Kind: "work"})
		return nil
	})
	handler := func(pool *pgxpool.Pool) eventlog.Handler {
		return eventlog.Handler{
			Kind: "work", Timeout: time.Second, Attempts: 1,
			Run: func(ctx context.Context, _ *eventlog.Run) (event.Event, error) {
				_, err := pool.Exec(ctx, "INSERT INTO worked DEFAULT VALUES")
				return draft(done, "x"), err
			},
			Failed: func(context.Context, *eventlog.Run, error) (event.Event, error) { return draft(done, "failed"), nil },
		}
	}
	migrations := fstest.MapFS{"migrations/001_worked.sql": {Data: []byte("-- +goose Up\nCREATE TABLE worked (id bigserial PRIMARY KEY);\n")}}
	return fx.Options(
		fx.Supply(fold),
		service.Effects(handler),
		service.Migrations(migrations),
		fx.Invoke(func(m *web.Mux, pool *pgxpool.Pool) {
			m.Handle(web.Route{Pattern: "GET /v1/counts/{subject}", Role: web.Reader}, func(w http.ResponseWriter, r *http.Request) {
				var n int64
				if err := pool.QueryRow(r.Context(), "SELECT n FROM counts WHERE subject = $1", r.PathValue("subject")).Scan(&n); err != nil {
					web.Problem(w, http.StatusNotFound, "Not found", err.Error())
					return
				}
				web.JSON(w, http.StatusOK, n)
			})
		}),
	)
}

func TestServiceRunsAModuleForReal(t *testing.T) {
	t.Parallel()
	r := testkit.Service(t, "counter", language, module())
	for range 3 {
		r.Foreign(eventlog.Cause{}, draft(asked, "tea"))
	}
	first := r.AwaitType(counted, 1)
	require.Equal(t, "tea", first.Subject())
	third := r.AwaitType(done, 3)
	require.Equal(t, "x", third.Subject())
	r.Settle(t.Context())
	require.Len(t, r.Events(), 9, "three asked, counted and done")

	var worked int
	require.NoError(t, r.Pool.QueryRow(t.Context(), "SELECT count(*) FROM worked").Scan(&worked))
	require.Equal(t, 3, worked)
	for path, want := range map[string]string{"/v1/counts/tea": "3", "/readyz": `"ready":true`, "/statusz": `"settled":true`, "/metrics": `service="counter"`} {
		res, err := http.Get(r.URL + path)
		require.NoError(t, err)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, 200, res.StatusCode, "%s", b)
		require.Contains(t, string(b), want)
	}
}

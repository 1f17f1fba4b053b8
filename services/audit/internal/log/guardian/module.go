package guardian

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/fx"
)

// Settings say how long the guardian waits for services, and what it trims.
type Settings struct {
	Archive *archive.Reader // nil where the log is not archived
	Wait    time.Duration
	Trim    Trimming
}

// Module runs the guardian with the Settings that the given constructor returns. The guardian starts before this
// service's own log, because that log also waits for the attestation, and it stops after that log.
func Module(settings any) fx.Option {
	return fx.Options(
		fx.Provide(settings, newGuardian),
		service.Migrations(Migrations),
		fx.Invoke(run, routes),
	)
}

func newGuardian(s Settings, nc *nats.Conn, pool *pgxpool.Pool, client *kafka.Client, logger *slog.Logger) *Guardian {
	return New(Options{
		NATS: nc, Pool: pool, Archive: s.Archive, Codec: events.Codec{}, Logger: logger, Wait: s.Wait, Trim: s.Trim,
		Restore: func(ctx context.Context, records []kafka.Record) error {
			return client.Produce(ctx, archive.Topic, records...)
		},
	})
}

// routes let an operator remove a service that will not start again: the guardian no longer waits for it,
// neither to attest the log nor to trim it.
func routes(mux *web.Mux, g *Guardian) {
	mux.Handle(web.Route{
		Pattern: "DELETE /v1/log/services/{service}", Role: web.Admin, Summary: "Forget a service that will not start again",
	}, func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("service")
		known, err := g.Forget(r.Context(), name)
		switch {
		case err != nil:
			web.Problem(w, http.StatusServiceUnavailable, "Not removed", "audit's database does not answer; try again")
		case !known:
			web.NotFound(w, "no service %s has applied the log", name)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

func run(lifecycle fx.Lifecycle, g *Guardian) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	lifecycle.Append(fx.Hook{
		OnStart: func(context.Context) error {
			go func() {
				defer close(done)
				g.Run(ctx)
			}()
			return nil
		},
		OnStop: func(context.Context) error {
			cancel()
			<-done
			return nil
		},
	})
}

// Package keeping wires the log's keeper.
package keeping

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
	"github.com/freshet-io/freshet/services/audit/internal/keeper"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/fx"
)

// Options say how the log is kept.
type Options struct {
	Archive *archive.Reader // nil where the log is not archived
	Wait    time.Duration
	Trim    keeper.Trimming
}

// Module attests the log, as a constructor of Options says: before this service's own log is live, which waits for
// the attestation like everybody's, and until after it has stopped.
func Module(options any) fx.Option {
	return fx.Options(
		fx.Provide(options, newKeeper, fx.Annotate(keeperTables, fx.ResultTags(`group:"migrations"`))),
		fx.Invoke(keep, keeperRoutes),
	)
}

func keeperTables() (service.Migrations, error) {
	files, err := keeper.Migrations()
	return service.Migrations{FS: files}, err
}

func newKeeper(o Options, nc *nats.Conn, pool *pgxpool.Pool, client *kafka.Client, logger *slog.Logger) *keeper.Keeper {
	return keeper.New(keeper.Options{
		NATS: nc, Pool: pool, Archive: o.Archive, Codec: events.Codec{}, Logger: logger, Wait: o.Wait, Trim: o.Trim,
		Restore: func(ctx context.Context, records []kafka.Record) error {
			return client.Produce(ctx, archive.Topic, records...)
		},
	})
}

// keeperRoutes let an operator say that a service will not come back: nobody waits
// for it any more, and it holds up no trimming.
func keeperRoutes(mux *web.Mux, k *keeper.Keeper) {
	mux.HandleFunc("DELETE /v1/log/services/{service}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("service")
		known, err := k.Forget(r.Context(), name)
		switch {
		case err != nil:
			web.Problem(w, http.StatusServiceUnavailable, "Not forgotten", "audit's database does not answer; try again")
		case !known:
			web.Problem(w, http.StatusNotFound, "Not found", "no service "+name+" has applied the log")
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

func keep(lifecycle fx.Lifecycle, k *keeper.Keeper) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	lifecycle.Append(fx.Hook{
		OnStart: func(context.Context) error {
			go func() {
				defer close(done)
				k.Run(ctx)
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

package audit

import (
	"context"
	"log/slog"
	"net/http"

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

// keeping attests the log: before this service's own log is live, which waits for
// the attestation like everybody's, and until after it has stopped.
func keeping() fx.Option {
	return fx.Options(
		fx.Provide(newKeeper, fx.Annotate(keeperTables, fx.ResultTags(`group:"migrations"`))),
		fx.Invoke(keep, keeperRoutes),
	)
}

func keeperTables() (service.Migrations, error) {
	files, err := keeper.Migrations()
	return service.Migrations{FS: files}, err
}

// archiveOf reads the archive, where the log is archived.
func archiveOf(cfg Config, client *kafka.Client) *archive.Reader {
	if !cfg.Archive {
		return nil
	}
	return archive.New(client)
}

func newKeeper(cfg Config, nc *nats.Conn, pool *pgxpool.Pool, client *kafka.Client, logger *slog.Logger) *keeper.Keeper {
	return keeper.New(keeper.Options{
		NATS: nc, Pool: pool, Archive: archiveOf(cfg, client), Codec: events.Codec{}, Logger: logger, Wait: cfg.AttestWait,
		Trim: keeper.Trimming{KeepEvents: uint64(cfg.KeepEvents), KeepFor: cfg.KeepFor, LogBytes: uint64(cfg.LogBytes)}, //nolint:gosec // not negative
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

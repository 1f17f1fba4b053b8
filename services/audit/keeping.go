package audit

import (
	"context"
	"log/slog"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/service"
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
		fx.Invoke(keep),
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
		Restore: func(ctx context.Context, records []kafka.Record) error {
			return client.Produce(ctx, archive.Topic, records...)
		},
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

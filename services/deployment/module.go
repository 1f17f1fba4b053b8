package deployment

import (
	"context"
	"log/slog"
	"strings"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/deployment/internal/decide"
	"github.com/freshet-io/freshet/services/deployment/internal/edge"
	"github.com/freshet-io/freshet/services/deployment/internal/effect"
	"github.com/freshet-io/freshet/services/deployment/internal/features"
	"github.com/freshet-io/freshet/services/deployment/internal/record"
	"github.com/freshet-io/freshet/services/deployment/internal/serving"
	"github.com/freshet-io/freshet/services/deployment/internal/state"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"
)

// Module is the whole service.
func Module(cfg Config) fx.Option {
	return fx.Module("deployment",
		fx.Supply(cfg),
		fx.Provide(
			newFold,
			newCache,
			newServer,
			newWriter,
			fx.Annotate(effect.Load, fx.ResultTags(`group:"effects"`)),
			fx.Annotate(followLoop, fx.ResultTags(`group:"loops"`)),
			fx.Annotate(recordLoop, fx.ResultTags(`group:"loops"`)),
			fx.Annotate(servingProgress, fx.ResultTags(`group:"progress"`)),
			fx.Annotate(recordProgress, fx.ResultTags(`group:"progress"`)),
		),
		fx.Invoke(routes, loadFirst, flushLast),
	)
}

func newFold() *eventlog.Fold {
	fold := eventlog.NewFold("deployment", state.FoldVersion, state.Tables)
	state.Register(fold)
	decide.Register(fold)
	return fold
}

func newCache(store *objects.Store) *serving.Cache { return serving.NewCache(store) }

func newServer(cache *serving.Cache, pool *pgxpool.Pool, logger *slog.Logger) *serving.Server {
	return serving.NewServer(cache, pool, logger)
}

func newWriter(cfg Config, client *kafka.Client, logger *slog.Logger) *record.Writer {
	return record.NewWriter(client, cfg.RecordMemory, logger)
}

func followLoop(server *serving.Server, log *eventlog.Log) service.Loop {
	return service.Loop{Name: "serving", Run: func(ctx context.Context) error { return server.Follow(ctx, log.Changed) }}
}

func recordLoop(writer *record.Writer, client *kafka.Client) service.Loop {
	return service.Loop{Name: "records", Run: func(ctx context.Context) error {
		if err := client.Ensure(ctx, record.Topic, 1); err != nil {
			return err
		}
		return writer.Run(ctx)
	}}
}

func servingProgress(server *serving.Server) service.Progress {
	return service.Progress{Name: "serving", Behind: server.Behind}
}

func recordProgress(writer *record.Writer) service.Progress {
	return service.Progress{Name: "records", Behind: writer.Behind}
}

func routes(cfg Config, urls service.URLs, mux *web.Mux, log *eventlog.Log, server *serving.Server, writer *record.Writer,
	c clock.Clock, metrics prometheus.Registerer) error {
	url := cfg.FeaturesURL
	if url == "" {
		url = urls.Suite
	}
	client := features.New(strings.TrimSuffix(url, "/"), cfg.FeaturesTimeout)
	settings := edge.Settings{BodyLimit: cfg.BodyLimit, MostRows: cfg.MostRows, RecordWait: cfg.RecordWait}
	e, err := edge.New(settings, server, client, writer, log.State(), c, metrics)
	if err != nil {
		return err
	}
	e.Register(mux)
	return nil
}

// loadFirst has the models that serve in memory before the service is ready. It
// takes the log because the state must be open.
func loadFirst(lc fx.Lifecycle, server *serving.Server, _ *eventlog.Log) {
	lc.Append(fx.StartHook(server.Refresh))
}

// flushLast writes what requests recorded after the loops had stopped.
func flushLast(lc fx.Lifecycle, writer *record.Writer) {
	lc.Append(fx.StopHook(writer.Flush))
}

package deployment

import (
	"log/slog"
	"strings"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/deployment/internal/edge"
	"github.com/freshet-io/freshet/services/deployment/internal/effect"
	"github.com/freshet-io/freshet/services/deployment/internal/features"
	"github.com/freshet-io/freshet/services/deployment/internal/record"
	"github.com/freshet-io/freshet/services/deployment/internal/serving"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its effect, its loops and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("deployment",
		fx.Supply(cfg),
		fx.Provide(Fold, newCache, newFeatures,
			// The models that serve are in memory before the service is ready, and what
			// requests record after the loops have stopped is still written.
			fx.Annotate(newServer, fx.OnStart((*serving.Server).Refresh)),
			fx.Annotate(newWriter, fx.OnStop((*record.Writer).Flush))),
		service.Effects(effect.Load),
		service.Loops(servingLoop, recordsLoop),
		fx.Invoke(routes),
	)
}

func newCache(store *objects.Store) *serving.Cache { return serving.NewCache(store) }

func newServer(cache *serving.Cache, log *eventlog.Log, logger *slog.Logger) *serving.Server {
	return serving.NewServer(cache, log.State(), log.Changed, logger)
}

func newWriter(cfg Config, client *kafka.Client, logger *slog.Logger) *record.Writer {
	return record.NewWriter(client, cfg.RecordMemory, logger)
}

func newFeatures(cfg Config, urls service.URLs) *features.Client {
	if cfg.FeaturesURL != "" { // another server's, which has no business with the suite's token
		return features.New(strings.TrimSuffix(cfg.FeaturesURL, "/"), "", cfg.FeaturesTimeout)
	}
	return features.New(urls.Suite, urls.Token, cfg.FeaturesTimeout)
}

func servingLoop(s *serving.Server) service.Loop {
	return service.Loop{Name: "serving", Run: s.Follow, Behind: s.Behind}
}

func recordsLoop(w *record.Writer) service.Loop {
	return service.Loop{Name: "records", Run: w.Run, Behind: w.Behind}
}

func routes(mux *web.Mux, log *eventlog.Log, cfg Config, server *serving.Server, client *features.Client, writer *record.Writer,
	c clock.Clock, metrics prometheus.Registerer) error {
	settings := edge.Settings{BodyLimit: cfg.BodyLimit, MostRows: cfg.MostRows, RecordWait: cfg.RecordWait}
	e, err := edge.New(settings, server, client, writer, log.State(), c, metrics)
	if err != nil {
		return err
	}
	e.Register(mux)
	return nil
}

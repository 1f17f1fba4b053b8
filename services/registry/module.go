package registry

import (
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/registry/internal/edge"
	"go.uber.org/fx"
)

// Module is the whole service: its fold and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("registry",
		fx.Supply(cfg),
		fx.Provide(Fold),
		fx.Invoke(routes),
	)
}

func routes(mux *web.Mux, log *eventlog.Log, cfg Config) {
	edge.New(log.State(), cfg.ListLimit).Register(mux)
}

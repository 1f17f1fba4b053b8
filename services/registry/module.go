package registry

import (
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/registry/internal/decide"
	"github.com/freshet-io/freshet/services/registry/internal/edge"
	"github.com/freshet-io/freshet/services/registry/internal/state"
	"go.uber.org/fx"
)

// Module is the whole service: its fold and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("registry",
		fx.Supply(cfg),
		fx.Provide(newFold),
		fx.Invoke(routes),
	)
}

func newFold() (*eventlog.Fold, error) {
	fold := eventlog.NewFold("registry", state.FoldVersion, state.Tables)
	state.Register(fold)
	return fold, decide.Register(fold)
}

func routes(mux *web.Mux, log *eventlog.Log, cfg Config) {
	edge.New(log.State(), cfg.ListLimit).Register(mux)
}

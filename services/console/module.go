package console

import (
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/console/internal/edge"
	"github.com/freshet-io/freshet/services/console/internal/page"
	"github.com/freshet-io/freshet/services/console/internal/state"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its routes and its page.
func Module(cfg Config) fx.Option {
	return fx.Module("console",
		fx.Supply(cfg),
		fx.Provide(newFold),
		fx.Invoke(routes),
	)
}

func newFold() *eventlog.Fold {
	fold := eventlog.NewFold("console", state.FoldVersion, state.Tables)
	state.Register(fold)
	return fold
}

func routes(mux *web.Mux, log *eventlog.Log, cfg Config, store *objects.Store) error {
	edge.New(log, store, cfg.ListLimit, cfg.Wait).Register(mux)
	p, err := page.New(log.State())
	if err != nil {
		return err
	}
	p.Register(mux)
	return nil
}

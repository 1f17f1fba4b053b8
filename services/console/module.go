package console

import (
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/console/internal/edge"
	"github.com/freshet-io/freshet/services/console/internal/page"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its routes and its page.
func Module(cfg Config) fx.Option {
	return fx.Module("console",
		fx.Supply(cfg),
		fx.Provide(Fold),
		fx.Invoke(routes),
	)
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

package training

import (
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/training/internal/edge"
	"github.com/freshet-io/freshet/services/training/internal/effect"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its effects and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("training",
		fx.Supply(cfg),
		fx.Provide(Fold, newEffects),
		service.Effects((*effect.Effects).Run, (*effect.Effects).Measure, (*effect.Effects).Refuse),
		fx.Invoke(routes),
	)
}

func routes(mux *web.Mux, log *eventlog.Log, cfg Config, store *objects.Store, effects *effect.Effects) {
	e := &edge.Edge{State: log.State(), Log: log, Objects: store, Live: effects.Logs, Limit: cfg.ListLimit, LogBytes: int64(cfg.LogBytes) * 2}
	e.Register(mux)
}

package training

import (
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/training/internal/decide"
	"github.com/freshet-io/freshet/services/training/internal/edge"
	"github.com/freshet-io/freshet/services/training/internal/effect"
	"github.com/freshet-io/freshet/services/training/internal/state"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its effects and its routes.
func Module(cfg Config) fx.Option {
	return fx.Module("training",
		fx.Supply(cfg),
		fx.Provide(
			newFold,
			newEffects,
			fx.Annotate((*effect.Effects).Run, fx.ResultTags(`group:"effects"`)),
			fx.Annotate((*effect.Effects).Measure, fx.ResultTags(`group:"effects"`)),
			fx.Annotate((*effect.Effects).Refuse, fx.ResultTags(`group:"effects"`)),
		),
		fx.Invoke(routes),
	)
}

func newFold() *eventlog.Fold {
	fold := eventlog.NewFold("training", state.FoldVersion, state.Tables)
	state.Register(fold)
	decide.Register(fold)
	return fold
}

func routes(cfg Config, mux *web.Mux, log *eventlog.Log, store *objects.Store, effects *effect.Effects) {
	x := edge.Edge{State: log.State(), Log: log, Objects: store, Live: effects.Logs, Limit: cfg.ListLimit, LogBytes: int64(cfg.LogBytes) * 2}
	x.Register(mux)
}

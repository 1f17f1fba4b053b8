// Package decide holds what monitoring decides of closed windows: verdicts on
// canaries, drift, degraded quality, and alerts. It compares numbers that the
// windows carry and computes no statistics itself.
package decide

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/rules"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/freshet-io/freshet/services/monitoring/internal/state"
)

// decider decides.
type decider struct {
	canary *rules.Evaluator
	alarms *rules.Evaluator
}

// Register adds every decide to the fold.
func Register(f *eventlog.Fold) error {
	canary, err := rules.New(rules.Map("candidate"), rules.Map("champion"))
	if err != nil {
		return err
	}
	alarms, err := rules.New(rules.Map("live"))
	if err != nil {
		return err
	}
	d := &decider{canary: canary, alarms: alarms}
	eventlog.Decide(f, d.window)
	return nil
}

func (d *decider) window(ctx context.Context, db eventlog.Reader, e event.Event, p events.WindowClosed, _ time.Time) ([]event.Event, error) {
	ns := eventlog.Namespace(e)
	if p.Kind == domain.Canary {
		return d.evaluate(ctx, db, ns, p)
	}
	model, err := state.ModelOf(ctx, db, ns, p.Model)
	if errors.Is(err, state.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := &decisions{ns: ns, cause: e.ID(), db: db, window: p}
	// Part of a period is another mix of hours than the reference: it drifts always.
	whole := p.Kind != domain.Traffic || p.To.Sub(p.From) >= model.Every
	if whole {
		if err := out.drift(ctx, model.PSI); err != nil {
			return nil, err
		}
	}
	if err := d.alarm(ctx, out, model.Alarms); err != nil {
		return nil, err
	}
	return out.Result()
}

package decide

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/registry/internal/domain"
	"github.com/freshet-io/freshet/services/registry/internal/state"
)

// modelWithdrawn denies what the model has waiting for a person. What it serves it
// continues serving: taking it down is a decision of its own.
func modelWithdrawn(ctx context.Context, s eventlog.Reader, e event.Event, p events.ModelWithdrawn, _ time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	waiting, err := state.WaitingFor(ctx, s, namespace, p.Model)
	if err != nil {
		return nil, err
	}
	d := decisions{namespace: namespace, model: p.Model}
	for _, w := range waiting {
		d.deny(w.Version, w.Environment, domain.Withdrawn)
	}
	return d.Result()
}

package decide

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/training/internal/domain"
	"github.com/freshet-io/freshet/services/training/internal/state"
)

// dataCommitted considers every model whose examples the dataset holds. Where a
// code change still waits for data, this is the data: it is trained on as code,
// and the commit needs no answer of its own.
func dataCommitted(ctx context.Context, r eventlog.Reader, e event.Event, p events.DataCommitted, now time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	models, err := state.ModelsOn(ctx, r, namespace, p.Dataset)
	if err != nil {
		return nil, err
	}
	var all eventlog.Decisions
	for _, name := range models {
		m, err := state.ModelOf(ctx, r, namespace, name, now)
		if err != nil {
			return nil, err
		}
		trigger := domain.Data
		if m.Waiting == domain.UntilMoreData {
			trigger = domain.Code
		}
		all.Append(answer(ctx, r, e, m, trigger, now))
	}
	return all.Result()
}

// modelDeclared considers a declaration only where it changes what a training
// would give: a new gate needs no new model.
func modelDeclared(ctx context.Context, r eventlog.Reader, e event.Event, p events.ModelDeclared, now time.Time) ([]event.Event, error) {
	if !p.TrainingChanged {
		return nil, nil
	}
	return consider(ctx, r, e, p.Model, domain.Code, now)
}

package decide

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/training/internal/domain"
	"github.com/freshet-io/freshet/services/training/internal/state"
)

func runFailed(ctx context.Context, r eventlog.Reader, e event.Event, p events.RunFailed, now time.Time) ([]event.Event, error) {
	return followUp(ctx, r, e, p.Model, now)
}

func candidateMeasured(ctx context.Context, r eventlog.Reader, e event.Event, p events.CandidateMeasured, now time.Time) ([]event.Event, error) {
	return followUp(ctx, r, e, p.Model, now)
}

// followUp trains on a code change that came while another training ran.
func followUp(ctx context.Context, r eventlog.Reader, e event.Event, model string, now time.Time) ([]event.Event, error) {
	m, err := state.ModelOf(ctx, r, eventlog.Namespace(e), model, now)
	if err != nil || m.Waiting != domain.UntilTheEnd {
		return nil, err
	}
	return answer(ctx, r, e, m, domain.Code, now)
}

// cancelAsked cancels a run that is not over, and lets a waiting code change have
// its turn. Asking about a run that is over changes nothing.
func cancelAsked(ctx context.Context, r eventlog.Reader, e event.Event, p events.CancelAsked, now time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	run, err := state.RunOf(ctx, r, namespace, p.Run)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil || run.Final() || run.Model != p.Model {
		return nil, err
	}
	var d eventlog.Decisions
	d.Add(events.NewRunCancelled(namespace, run.Model, events.RunCancelled{Run: p.Run, Model: run.Model}))
	m, err := state.ModelOf(ctx, r, namespace, run.Model, now)
	if d.Fail(err); err != nil || m.Waiting != domain.UntilTheEnd {
		return d.Result()
	}
	// The decisions of one event are applied in order: by then the model is free.
	m.Policy.Running = m.Active != "" && m.Active != run.Request
	d.Append(answer(ctx, r, e, m, domain.Code, now))
	return d.Result()
}

package effect

import (
	"context"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/state"
)

// Materialise computes the rows of one view version for one data commit.
func (w *Dependencies) Materialise(timeout time.Duration, concurrency int) eventlog.Handler {
	return eventlog.Handler{
		Kind: state.Materialise, Timeout: timeout, Attempts: 4, Concurrency: concurrency,
		Run: w.materialise,
		Failed: func(_ context.Context, run *eventlog.Run, err error) (event.Event, error) {
			var a state.MaterialiseArgs
			if decodeErr := run.Decode(&a); decodeErr != nil {
				return event.Event{}, decodeErr
			}
			return materialised(run, a, events.FeatureViewMaterialized{Error: limit(err.Error())})
		},
	}
}

func materialised(run *eventlog.Run, a state.MaterialiseArgs, p events.FeatureViewMaterialized) (event.Event, error) {
	p.View, p.Version, p.Dataset, p.Commit = a.View, a.Version, a.Dataset, a.Commit
	return events.NewFeatureViewMaterialized(run.Namespace, a.View, p)
}

func (w *Dependencies) materialise(ctx context.Context, run *eventlog.Run) (event.Event, error) {
	var a state.MaterialiseArgs
	if err := run.Decode(&a); err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	declared, err := state.FindView(ctx, w.State, run.Namespace, a.View, a.Version)
	if err != nil {
		return event.Event{}, err
	}
	view, err := compute.Compile(declared.Spec, declared.Version, declared.Digest)
	if err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	commit, err := state.FindCommit(ctx, w.State, run.Namespace, a.Dataset, a.Commit)
	if err != nil {
		return event.Event{}, err
	}
	t, err := w.rowsOf(ctx, view, &commit)
	if err != nil {
		if usersFault(err) {
			err = eventlog.Permanent(err)
		}
		return event.Event{}, err
	}
	if t == nil || t.Rows == 0 {
		return materialised(run, a, events.FeatureViewMaterialized{})
	}
	file, err := w.putTable(ctx, t)
	if err != nil {
		return event.Event{}, err
	}
	p := events.FeatureViewMaterialized{File: &file, Rows: int64(t.Rows)}
	newest := t.Column(compute.TimeColumn).Ints[0]
	for _, at := range t.Column(compute.TimeColumn).Ints {
		newest = max(newest, at)
	}
	through := time.UnixMicro(newest).UTC()
	p.Through = &through
	groups, err := compute.Group(view, t)
	if err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	p.Entities = int64(len(groups))
	return materialised(run, a, p)
}

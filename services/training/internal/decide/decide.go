// Package decide holds what training decides: whether each reason to train a model
// is followed. Every reason gets an answer, training_requested or
// training_skipped with the rule that refused it. Each file's function depends on
// the fold's tables and the event alone.
package decide

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/training/internal/domain"
	"github.com/freshet-io/freshet/services/training/internal/state"
)

// Register adds every decide to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Decide(f, dataCommitted)
	eventlog.Decide(f, modelDeclared)
	eventlog.Decide(f, driftDetected)
	eventlog.Decide(f, qualityDegraded)
	eventlog.Decide(f, scheduleTicked)
	eventlog.Decide(f, trainingAsked)
	eventlog.Decide(f, runFailed)
	eventlog.Decide(f, candidateMeasured)
	eventlog.Decide(f, cancelAsked)
}

// consider answers one reason to train a model.
func consider(ctx context.Context, r eventlog.Reader, e event.Event, model, trigger string, now time.Time) ([]event.Event, error) {
	m, err := state.ModelOf(ctx, r, eventlog.Namespace(e), model, now)
	if err != nil {
		return nil, err
	}
	return answer(ctx, r, e, m, trigger, now)
}

func answer(ctx context.Context, r eventlog.Reader, e event.Event, m state.Model, trigger string, now time.Time) ([]event.Event, error) {
	namespace := eventlog.Namespace(e)
	if reason := domain.Refuse(m.Policy, trigger, now); reason != "" {
		return eventlog.Decided(events.NewTrainingSkipped(namespace, m.Name, events.TrainingSkipped{Model: m.Name, Trigger: trigger, Reason: reason}))
	}
	data, err := state.DataFor(ctx, r, namespace, m.Spec)
	if err != nil {
		return nil, err
	}
	contributors := []string{m.Declared}
	for _, d := range data {
		contributors = append(contributors, d.Event)
	}
	return eventlog.Decided(events.NewTrainingRequested(namespace, m.Name, events.TrainingRequested{
		Model: m.Name, Trigger: trigger, Code: m.Code, Data: data, Spec: m.Spec, SpecDigest: m.SpecDigest,
		Seed: seed(e.ID(), m.Name), AsOf: now, Contributors: contributors,
	}))
}

// seed is as good as random and always the same for one cause. It fits 31 bits,
// which every library takes.
func seed(cause, model string) int64 {
	sum := sha256.Sum256([]byte(cause + "\x00" + model))
	return int64(binary.BigEndian.Uint32(sum[:4]) >> 1)
}

func driftDetected(ctx context.Context, r eventlog.Reader, e event.Event, p events.DriftDetected, now time.Time) ([]event.Event, error) {
	return consider(ctx, r, e, p.Model, domain.Drift, now)
}

func qualityDegraded(ctx context.Context, r eventlog.Reader, e event.Event, p events.QualityDegraded, now time.Time) ([]event.Event, error) {
	return consider(ctx, r, e, p.Model, domain.Quality, now)
}

func scheduleTicked(ctx context.Context, r eventlog.Reader, e event.Event, p events.ScheduleTicked, now time.Time) ([]event.Event, error) {
	return consider(ctx, r, e, p.Model, domain.Schedule, now)
}

func trainingAsked(ctx context.Context, r eventlog.Reader, e event.Event, p events.TrainingAsked, now time.Time) ([]event.Event, error) {
	return consider(ctx, r, e, p.Model, domain.Person, now)
}

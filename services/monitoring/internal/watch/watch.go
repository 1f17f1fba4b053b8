// Package watch closes windows when they are due: a canary's when its step has
// seen enough, an environment's at every boundary of the suite clock. It computes
// what was seen and records it as a fact; what follows is decided from that.
//
// A window is recorded under a natural key (its environment and end, or its
// rollout and step), so that two replicas, or a restart in the middle, close it
// once. Boundaries that passed while nobody watched are one window with a count.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/freshet-io/freshet/services/monitoring/internal/inbox"
	"github.com/freshet-io/freshet/services/monitoring/internal/measure"
	"github.com/freshet-io/freshet/services/monitoring/internal/state"
)

// Log is what the watcher needs of the event log; *eventlog.Log has it.
type Log interface {
	RecordAndWait(ctx context.Context, facts ...eventlog.Fact) ([]eventlog.Receipt, error)
	Changed() <-chan struct{}
}

// Settings of a watcher.
type Settings struct {
	// Grace is how long, in real time, a closing window waits for records that
	// are on their way to Kafka.
	Grace time.Duration
	// Keep is how long records are kept, by the suite clock.
	Keep time.Duration
}

// Watcher closes windows.
type Watcher struct {
	settings Settings
	db       eventlog.Reader
	log      Log
	inbox    *inbox.Inbox
	profiles *Profiles
	clock    clock.Clock
	logger   *slog.Logger

	mu   sync.Mutex
	kept time.Time // records before were deleted
}

// New returns a watcher.
func New(settings Settings, db eventlog.Reader, log Log, in *inbox.Inbox, profiles *Profiles, c clock.Clock, logger *slog.Logger) *Watcher {
	return &Watcher{settings: settings, db: db, log: log, inbox: in, profiles: profiles, clock: c, logger: logger}
}

// Run closes what is due whenever the state, the records or the clock moved.
func (w *Watcher) Run(ctx context.Context) error {
	for {
		changed, arrived := w.log.Changed(), w.inbox.Arrived()
		again, err := w.pass(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		tick, stop := w.at(ctx, again)
		select {
		case <-changed:
		case <-arrived:
		case <-tick:
		case <-ctx.Done():
			stop()
			return nil
		}
		stop()
	}
}

// at is closed when the clock reaches t; a zero t never.
func (w *Watcher) at(ctx context.Context, t time.Time) (<-chan struct{}, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if t.IsZero() {
		return nil, cancel
	}
	reached := make(chan struct{})
	go func() {
		if w.clock.Until(ctx, t) == nil {
			close(reached)
		}
	}()
	return reached, cancel
}

// pass closes everything that is due and says when to look again. A window that
// cannot be closed delays no other one.
func (w *Watcher) pass(ctx context.Context) (again time.Time, err error) {
	due, again, err := w.due(ctx)
	if err != nil {
		return again, err
	}
	var errs []error
	for _, c := range due.canaries {
		if err := w.closeCanary(ctx, c); err != nil {
			errs = append(errs, fmt.Errorf("closing step %d of rollout %s: %w", c.Step, c.Rollout, err))
		}
		if ctx.Err() != nil {
			return again, errors.Join(append(errs, ctx.Err())...)
		}
	}
	if len(due.traffic) == 0 {
		return again, errors.Join(errs...)
	}
	if err := w.settle(ctx); err != nil {
		return again, errors.Join(append(errs, err)...)
	}
	for _, t := range due.traffic {
		if err := w.closeTraffic(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("closing a window of %s in %s: %w", t.Model, t.Environment, err))
		}
		if ctx.Err() != nil {
			return again, errors.Join(append(errs, ctx.Err())...)
		}
	}
	return again, errors.Join(append(errs, w.forget(ctx))...)
}

// settle waits for records that were on their way when a window ended.
func (w *Watcher) settle(ctx context.Context) error {
	if w.settings.Grace > 0 {
		select {
		case <-time.After(w.settings.Grace):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return w.inbox.CatchUp(ctx)
}

type traffic struct {
	state.Watch
	domain.Span
}

type dueWindows struct {
	canaries []state.Canary
	traffic  []traffic
}

// due finds what is to be closed now, and the next moment of the clock at which
// something may be.
func (w *Watcher) due(ctx context.Context) (d dueWindows, again time.Time, err error) {
	now := w.clock.Now()
	soonest := func(t time.Time) {
		if again.IsZero() || t.Before(again) {
			again = t
		}
	}
	canaries, err := state.Stepping(ctx, w.db)
	if err != nil {
		return d, again, err
	}
	for _, c := range canaries {
		if at := c.Stepped.Add(c.AtLeast); now.Before(at) {
			soonest(at)
			continue
		}
		rows, err := w.inbox.CandidateRows(ctx, c.Namespace, c.Rollout, c.Step, c.Version)
		if err != nil {
			return d, again, err
		}
		if rows >= max(c.Requests, 1) {
			d.canaries = append(d.canaries, c)
		}
	}
	watches, err := state.Watches(ctx, w.db)
	if err != nil {
		return d, again, err
	}
	for _, x := range watches {
		if x.Every <= 0 {
			continue
		}
		soonest(domain.Next(now, x.Every))
		span, ok := domain.Due(x.ClosedTo, now, x.Every)
		if !ok {
			continue
		}
		// That nobody asks is news only of an environment that somebody asked.
		asked, err := w.inbox.Asked(ctx, x.Namespace, x.Model, x.Environment, span.To)
		if err != nil {
			return d, again, err
		}
		if asked {
			d.traffic = append(d.traffic, traffic{x, span})
		}
	}
	return d, again, nil
}

// Behind is how many windows are due and not yet closed.
func (w *Watcher) Behind(ctx context.Context) (int64, error) {
	d, _, err := w.due(ctx)
	return int64(len(d.canaries) + len(d.traffic)), err
}

func (w *Watcher) closeCanary(ctx context.Context, c state.Canary) error {
	var champion int64
	if c.Previous != nil {
		champion = *c.Previous
	}
	win := measure.NewWindow(champion, &c.Version, nil, "")
	if err := w.inbox.OfStep(ctx, c.Namespace, c.Rollout, c.Step, func(r *inbox.Record) error {
		win.Add(r)
		return nil
	}); err != nil {
		return err
	}
	slices := win.Slices()
	win.Against(slices)
	to := w.clock.Now()
	if !to.After(c.Stepped) {
		to = c.Stepped
	}
	draft, err := events.NewWindowClosed(c.Namespace, c.Model, events.WindowClosed{
		Model: c.Model, Environment: c.Environment, Kind: domain.Canary, From: c.Stepped.UTC(), To: to,
		Rollout: c.Rollout, Step: &c.Step, Slices: slices, Drift: []events.ColumnDrift{}, Version: c.Previous})
	if err != nil {
		return err
	}
	return w.record(ctx, draft, c.Cause, c.Namespace, domain.Canary, c.Rollout, strconv.FormatInt(c.Step, 10))
}

func (w *Watcher) closeTraffic(ctx context.Context, t traffic) error {
	model, err := state.ModelOf(ctx, w.db, t.Namespace, t.Model)
	if err != nil {
		return err
	}
	candidate, err := state.CandidateIn(ctx, w.db, t.Namespace, t.Model, t.Environment)
	if err != nil {
		return err
	}
	p := events.WindowClosed{Model: t.Model, Environment: t.Environment, Kind: domain.Traffic,
		From: t.From, To: t.To, Missed: t.Missed, Version: &t.Champion}
	var reference *statistics.Profile
	if reference, err = w.profiles.Of(ctx, t.Namespace, t.Model, t.Champion); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.logger.Error("a window closes without drift: its reference cannot be read", "model", t.Model, "version", t.Champion, "error", err)
		p.Error = "the reference profile of version " + strconv.FormatInt(t.Champion, 10) + " cannot be read"
	}
	win := measure.NewWindow(t.Champion, candidate, reference, model.Prediction)
	if err := w.inbox.Between(ctx, t.Namespace, t.Model, t.Environment, t.From, t.To, true, func(r *inbox.Record) error {
		win.Add(r)
		return nil
	}); err != nil {
		return err
	}
	p.Slices = win.Slices()
	p.Drift = win.Drift(p.Slices)
	p.Live = win.Live()
	draft, err := events.NewWindowClosed(t.Namespace, t.Model, p)
	if err != nil {
		return err
	}
	return w.record(ctx, draft, eventlog.Cause{}, t.Namespace, domain.Traffic, t.Model, t.Environment, t.To.UTC().Format(time.RFC3339Nano))
}

// record records a window and waits until the fold knows it, so that it is not
// found due again. Another replica may have closed it with other numbers: the
// first one stands.
func (w *Watcher) record(ctx context.Context, draft event.Event, cause eventlog.Cause, key ...string) error {
	_, err := w.log.RecordAndWait(ctx, eventlog.Fact{Event: draft, Key: append([]string{"window"}, key...), Cause: cause})
	if err != nil && !errors.Is(err, eventlog.ErrConflict) {
		return fmt.Errorf("recording a window: %w", err)
	}
	return nil
}

// forget deletes records past their time, at most once per hour of the suite clock.
func (w *Watcher) forget(ctx context.Context) error {
	w.mu.Lock()
	before := w.clock.Now().Add(-w.settings.Keep)
	due := w.settings.Keep > 0 && before.Sub(w.kept) >= time.Hour
	if due {
		w.kept = before
	}
	w.mu.Unlock()
	if !due {
		return nil
	}
	return w.inbox.Forget(ctx, before)
}

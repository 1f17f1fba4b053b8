package effects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
)

const (
	defaultTimeout = time.Minute
	maxBackoff     = time.Minute
)

// execute makes one attempt at an effect, under a lease.
func (w *Scheduler) execute(ctx context.Context, h Handler, row *engine.EffectRow) (again time.Duration) {
	attempt, token, recorded, err := w.leases.take(ctx, row)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			w.logger.Warn("no lease for an effect", "effect", row.ID, "kind", row.Kind, "error", err)
		}
		return time.Second
	case recorded:
		return -1
	case token == 0:
		return leaseRenewal // somebody else's
	}
	timeout := h.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	attempts := max(h.Attempts, 1)
	run := &Run{ID: row.ID, Kind: row.Kind, Namespace: row.Namespace, Cause: row.Cause, Attempt: attempt, Args: row.Args, outbox: w.outbox, service: w.service}
	held, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		w.leases.renew(held, lose, row, token)
	}()
	var draft event.Event
	if attempt > attempts {
		err = errors.New("the last attempt was interrupted")
	} else {
		limited, cancel := context.WithTimeout(held, timeout)
		draft, err = callRun(limited, h.Run, run)
		if err != nil && limited.Err() != nil && held.Err() == nil {
			err = fmt.Errorf("timed out after %s: %w", timeout, err)
		}
		cancel()
	}
	if held.Err() != nil {
		lose(nil)
		<-renewed
		w.leases.release(ctx, row, token)
		return leaseRenewal
	}
	var permanent *permanentError
	if err != nil {
		w.logger.Warn("effect failed", "effect", row.ID, "kind", row.Kind, "attempt", attempt, "of", attempts, "error", err)
		if attempt < attempts && !errors.As(err, &permanent) {
			lose(nil)
			<-renewed
			w.leases.expire(ctx, row, token)
			return backoff(attempt)
		}
		if draft, err = callFailed(held, h.Failed, run, err); err != nil {
			w.logger.Error("an effect cannot say that it failed", "effect", row.ID, "kind", row.Kind, "error", err)
			return backoff(attempt)
		}
	}
	if err := w.finish(held, run, h, token, draft); err != nil {
		if ctx.Err() == nil {
			w.logger.Error("an effect's result is not recorded", "effect", row.ID, "kind", row.Kind, "error", err)
		}
		if held.Err() != nil { // the database was unavailable for too long, or the process ends
			lose(nil)
			<-renewed
			w.leases.release(ctx, row, token)
		}
		return backoff(attempt)
	}
	return -1
}

// finish records what an effect ended with. A result that is no fact of the
// service is the handler's failure.
func (w *Scheduler) finish(ctx context.Context, run *Run, h Handler, token int64, draft event.Event) error {
	id := envelope.ResultID(w.service, run.ID, 0)
	n, err := w.outbox.Entry(draft, id, run.Cause, "")
	if err != nil {
		w.logger.Error("an effect's result cannot be recorded", "effect", run.ID, "kind", run.Kind, "error", err)
		if draft, err = callFailed(ctx, h.Failed, run, Permanent(err)); err != nil {
			return err
		}
		if n, err = w.outbox.Entry(draft, id, run.Cause, ""); err != nil {
			return err
		}
	}
	if err := w.leases.holds(ctx, run, token); err != nil {
		return err
	}
	n.FirstWins = true
	if _, err := w.outbox.Submit(ctx, []*envelope.Entry{n}); err != nil {
		return err
	}
	w.leases.drop(ctx, run)
	return nil
}

func backoff(attempt int) time.Duration {
	return min(200*time.Millisecond<<min(attempt, 10), maxBackoff)
}

func callRun(ctx context.Context, fn func(context.Context, *Run) (event.Event, error), run *Run) (_ event.Event, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(ctx, run)
}

func callFailed(ctx context.Context, fn func(context.Context, *Run, error) (event.Event, error), run *Run, cause error) (_ event.Event, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(ctx, run, cause)
}

// Decode reads the effect's arguments.
func (r *Run) Decode(v any) error { return json.Unmarshal(r.Args, v) }

// Record records a fact on the way, with an ordinal from 1 of the effect's own.
// The first one recorded under an ordinal stands.
func (r *Run) Record(ctx context.Context, ordinal int, draft event.Event) (outbox.Receipt, error) {
	if ordinal < 1 {
		return outbox.Receipt{}, errors.New("eventlog: facts on the way have ordinals from 1")
	}
	n, err := r.outbox.Entry(draft, envelope.ResultID(r.service, r.ID, ordinal), r.Cause, "")
	if err != nil {
		return outbox.Receipt{}, err
	}
	n.FirstWins = true
	receipts, err := r.outbox.Submit(ctx, []*envelope.Entry{n})
	if err != nil {
		return outbox.Receipt{}, err
	}
	return receipts[0], nil
}

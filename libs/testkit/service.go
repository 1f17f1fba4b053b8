package testkit

import (
	"context"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/fx"
)

// A Running service, alone on a log of its own, with everything real.
type Running struct {
	URL     string // where its routes answer
	Log     *eventlog.Log
	Pool    *pgxpool.Pool // search_path as the service has it
	Objects *objects.Store
	Kafka   *kafka.Client
	Clock   *clock.Driven

	t testing.TB
}

// Service runs one service's module (with its configuration already applied)
// until the test ends. Language is service.Events{Codec: events.Codec{},
// IsDecision: events.IsDecision}.
func Service(t testing.TB, name string, language service.Events, module ...fx.Option) *Running {
	t.Helper()
	t.Fatal("not available")
	return &Running{t: t}
}

// Foreign appends events to the log as if their own services had recorded them:
// the source is taken from each event's type, the envelope is completed, and
// cause is the event's or the zero Cause for a root. It returns them as the log
// has them.
func (r *Running) Foreign(cause eventlog.Cause, drafts ...event.Event) []event.Event {
	r.t.Helper()
	return nil
}

// Await returns the first event of the log, in its order, that match accepts.
func (r *Running) Await(match func(event.Event) bool) event.Event {
	r.t.Helper()
	return event.Event{}
}

// AwaitType returns the n-th event (from 1) of a type.
func (r *Running) AwaitType(typ string, n int) event.Event {
	r.t.Helper()
	return event.Event{}
}

// Events are all events of the log so far.
func (r *Running) Events() []event.Event {
	r.t.Helper()
	return nil
}

// Settle waits until the service has nothing left to do: it has applied the
// whole log, its outbox is empty, no effect is open, all progress is 0.
func (r *Running) Settle(ctx context.Context) {
	r.t.Helper()
}

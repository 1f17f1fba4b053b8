package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stream is the log's name in tests, in its first epoch.
const Stream = "FRESHET_1"

// waitLimit is how long a test waits for an event that must come.
const waitLimit = 2 * time.Minute

// A Running service, alone on a log of its own, with everything real.
type Running struct {
	URL     string // where its routes answer, and where it finds the suite
	Log     *eventlog.Log
	Pool    *pgxpool.Pool // search_path as the service has it
	Objects *objects.Store
	Kafka   *kafka.Client
	Broker  string     // Kafka's address
	NATS    *nats.Conn // with all permissions; FRESHET_IN exists
	Clock   *clock.Driven

	t        testing.TB
	name     string
	language service.Events
	service  *service.Service
	stream   jetstream.Stream
	js       jetstream.JetStream

	mu       sync.Mutex
	events   []event.Event     // of the log, as read so far
	sequence map[string]uint64 // the last one of each foreign source
}

// Service runs one service's module (with its configuration already applied)
// until the test ends. Language is service.Events{Codec: events.Codec{},
// IsDecision: events.IsDecision}. Topics are not made: a service ensures its own.
func Service(t testing.TB, name string, language service.Events, module ...service.Module) *Running {
	t.Helper()
	nats := natsServer(t)
	nc := natsConn(t, nats)
	r := &Running{t: t, name: name, language: language, NATS: nc, Broker: KafkaAddr(t), Clock: Clock(), sequence: map[string]uint64{}}
	r.prepareStreams()
	// The routes' address is known before the service starts, as it is in a suite.
	routes := &lateHandler{}
	server := httptest.NewServer(routes)
	t.Cleanup(server.Close)
	r.URL = server.URL
	dir := t.TempDir()
	r.service = service.New(service.Options{
		Name: name, Language: language, Module: service.Modules(module...),
		Postgres: PostgresURL(t), NATS: nats.URL("test"),
		Kafka: []string{r.Broker}, Objects: filepath.Join(dir, "objects"),
		Paths: service.Paths{DataDir: filepath.Join(dir, "data"), TempDir: filepath.Join(dir, "tmp")},
		URLs:  service.URLs{Suite: server.URL},
		Clock: r.Clock, Logger: logger(t),
	})
	routes.set(r.service.Handler())
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	t.Cleanup(func() {
		server.CloseClientConnections()
		if err := r.service.Stop(context.Background()); err != nil {
			t.Errorf("stopping %s: %v", name, err)
		}
	})
	if err := r.service.Start(ctx); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	r.Log, r.Pool, r.Objects, r.Kafka = r.service.Log(), r.service.Pool(), r.service.Objects(), r.service.Kafka()
	return r
}

func (r *Running) prepareStreams() {
	r.t.Helper()
	ctx := r.t.Context()
	if err := eventlog.EnsureStream(ctx, r.NATS, Stream); err != nil {
		r.t.Fatalf("the log for tests: %v", err)
	}
	var err error
	if r.js, err = jetstream.New(r.NATS); err != nil {
		r.t.Fatalf("the log for tests: %v", err)
	}
	if _, err = r.js.CreateStream(ctx, jetstream.StreamConfig{Name: "FRESHET_IN", Subjects: []string{"freshet-in.>"}}); err != nil {
		r.t.Fatalf("the log for tests: %v", err)
	}
	if r.stream, err = r.js.Stream(ctx, Stream); err != nil {
		r.t.Fatalf("the log for tests: %v", err)
	}
}

// Foreign appends events to the log as if their own services had recorded them:
// the source is taken from each event's type, the envelope is completed, and
// cause is the event that led to them or the zero Cause for roots. It returns them
// as the log has them.
func (r *Running) Foreign(cause eventlog.Cause, drafts ...event.Event) []event.Event {
	r.t.Helper()
	out := make([]event.Event, len(drafts))
	for i, draft := range drafts {
		e, err := r.place(draft, cause)
		if err != nil {
			r.t.Fatalf("a foreign event: %v", err)
		}
		subject, err := eventlog.Subject(e)
		if err != nil {
			r.t.Fatalf("a foreign event: %v", err)
		}
		b, err := r.language.Codec.Encode(e)
		if err != nil {
			r.t.Fatalf("a foreign event: %v", err)
		}
		if _, err := r.js.Publish(r.t.Context(), subject, b); err != nil {
			r.t.Fatalf("a foreign event: %v", err)
		}
		out[i] = e
	}
	return out
}

func (r *Running) place(draft event.Event, cause eventlog.Cause) (event.Event, error) {
	rest, _ := strings.CutPrefix(draft.Type(), "io.freshet.")
	owner, _, _ := strings.Cut(rest, ".")
	if owner == "" || owner == r.name {
		return event.Event{}, fmt.Errorf("%s is not another service's event", draft.Type())
	}
	c, ok := draft.Context.Clone().(*event.EventContextV1)
	if !ok {
		return event.Event{}, fmt.Errorf("%s is not a CloudEvent 1.0", draft.Type())
	}
	if c.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return event.Event{}, err
		}
		c.ID = id.String()
	}
	c.Source = *types.ParseURIRef("/freshet/" + owner)
	if c.Time == nil {
		c.Time = &types.Timestamp{Time: r.Clock.Now().Truncate(time.Microsecond)}
	}
	ext := map[string]any{"correlationid": c.ID, "hops": int32(0)}
	if cause.ID != "" {
		ext["causationid"], ext["hops"], ext["correlationid"] = cause.ID, int32(cause.Hops+1), cause.Correlation //nolint:gosec // small
	}
	for k, v := range c.Extensions {
		ext[k] = v
	}
	r.mu.Lock()
	r.sequence[owner]++
	ext["sequence"] = fmt.Sprintf("%020d", r.sequence[owner])
	r.mu.Unlock()
	c.Extensions = ext
	e := draft
	e.Context = c
	return e, nil
}

// Events are all events of the log so far.
func (r *Running) Events() []event.Event {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), waitLimit)
	defer cancel()
	info, err := r.stream.Info(ctx)
	if err != nil {
		r.t.Fatalf("reading the log: %v", err)
	}
	for seq := uint64(len(r.events)) + 1; seq <= info.State.LastSeq; seq++ {
		m, err := r.stream.GetMsg(ctx, seq)
		if err != nil {
			r.t.Fatalf("reading the log at %d: %v", seq, err)
		}
		e, err := r.language.Codec.Decode(m.Data)
		if err != nil {
			r.t.Fatalf("reading the log at %d: %v: %s", seq, err, m.Data)
		}
		r.events = append(r.events, e)
	}
	return append([]event.Event(nil), r.events...)
}

// AwaitType returns the n-th event (from 1) of a type.
func (r *Running) AwaitType(typ string, n int) event.Event {
	r.t.Helper()
	missing := fmt.Sprintf("no %s number %d", typ, n)
	seen := map[string]bool{}
	deadline := time.NewTimer(waitLimit)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	next := 0
	for {
		all := r.Events()
		for ; next < len(all); next++ {
			e := all[next]
			if e.Type() != typ || seen[e.ID()] {
				continue
			}
			if seen[e.ID()] = true; len(seen) == n {
				return e
			}
		}
		select {
		case err := <-r.service.Failed():
			r.t.Fatalf("%s; the service failed: %v\n%s", missing, err, r.describe(all))
		case <-deadline.C:
			r.t.Fatalf("%s came within %s; the log has\n%s%s", missing, waitLimit, r.describe(all), r.status())
		case <-poll.C:
		}
	}
}

func (r *Running) describe(all []event.Event) string {
	var b strings.Builder
	for i, e := range all {
		fmt.Fprintf(&b, "%4d %s %s %s\n", i+1, e.Type(), e.Subject(), e.Data())
	}
	return b.String()
}

func (r *Running) status() string {
	b, err := json.Marshal(r.service.Status(context.WithoutCancel(r.t.Context())))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Settle waits until the service has nothing left to do: it has applied the
// whole log, its outbox is empty, no effect is open, all progress is 0.
func (r *Running) Settle(ctx context.Context) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	for quiet := 0; quiet < 2; {
		if r.service.Status(ctx).Settled {
			quiet++
			continue
		}
		quiet = 0
		timer := time.NewTimer(5 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			r.t.Fatalf("the service is not settled within %s: %s", waitLimit, r.status())
		}
	}
}

// logger writes warnings and errors, or everything where FRESHET_TEST_LOG is set.
func logger(t testing.TB) *slog.Logger {
	level := slog.LevelWarn
	if os.Getenv("FRESHET_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
}

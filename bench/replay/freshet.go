package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
)

const (
	stateTables = `CREATE TABLE state (key text COLLATE "C" PRIMARY KEY, n bigint NOT NULL, last bigint NOT NULL)`
	upsert      = `INSERT INTO state (key, n, last) VALUES ($1, 1, $2)
		ON CONFLICT (key) DO UPDATE SET n = state.n + 1, last = excluded.last`
)

// freshet is one service's log over the made one.
type freshet struct {
	log     *eventlog.Log
	pool    *pgxpool.Pool
	nc      *nats.Conn
	stop    context.CancelFunc
	stopped chan struct{}
}

func startFreshet(ctx context.Context, postgresURL, natsURL string) (*freshet, error) {
	f := &freshet{stopped: make(chan struct{})}
	var err error
	if f.pool, err = pgxpool.New(ctx, postgresURL); err != nil {
		return nil, err
	}
	if f.nc, err = nats.Connect(natsURL); err != nil {
		return nil, err
	}
	fold := eventlog.NewFold("audit", 1, stateTables)
	fold.Apply(events.TypeNoteAdded, eventlog.Applies(events.Parse[events.NoteAdded],
		func(_ context.Context, tx *eventlog.Tx, e event.Event, _ events.NoteAdded) error {
			tx.Exec(upsert, e.Subject(), int64(eventlog.Sequence(e))) //nolint:gosec // a count
			return nil
		}))
	f.log, err = eventlog.Open(ctx, eventlog.Options{Fold: fold, IsDecision: events.IsDecision, Codec: events.Codec{}, Pool: f.pool, NATS: f.nc,
		Clock: clock.System(), Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = cancel
	go func() {
		defer close(f.stopped)
		_ = f.log.Run(running)
	}()
	for {
		st := f.log.Status(ctx)
		if st.Err != nil {
			return nil, st.Err
		}
		if st.Position > 0 && st.Position >= st.End && st.Outbox == 0 {
			return f, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (f *freshet) close() {
	f.stop()
	<-f.stopped
	f.nc.Close()
	f.pool.Close()
}

func (f *freshet) rebuild(ctx context.Context, _ int) error {
	_, err := f.log.Rebuild(ctx, eventlog.FromLog, nil)
	return err
}

func (f *freshet) verify(ctx context.Context, _ int) error {
	r, err := f.log.Verify(ctx, eventlog.FromLog, nil)
	if err == nil && !r.Equal {
		err = fmt.Errorf("not equal: %+v", r.Difference)
	}
	return err
}

func (f *freshet) check(ctx context.Context, n int) error {
	return stateIs(ctx, f.log.State(), n)
}

// stateIs holds the table's content against what n events make of it.
func stateIs(ctx context.Context, q eventlog.Reader, n int) error {
	rows, err := q.Query(ctx, `SELECT key || ' ' || n || ' ' || last FROM state`)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if checksum(lines) != expected(n) {
		return fmt.Errorf("the state of %d events is not what they make of it", n)
	}
	return nil
}

func checksum(lines []string) string {
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

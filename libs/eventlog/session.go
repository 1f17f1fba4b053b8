package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/live"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
)

// steadyAfter is how long a session lasts that was none of a row of failures: what
// ended it is new.
const steadyAfter = 10 * time.Second

// runSession keeps a database session that says that this process lives, and
// leads the service while it is the first to ask: one process applies, decides
// and relays; the others record, read and execute effects.
func (l *Log) runSession(ctx context.Context) {
	executions, stop := context.WithCancel(ctx)
	defer l.scheduler.Wait()
	defer stop()
	for try := 0; ctx.Err() == nil; try++ {
		began := time.Now()
		err := l.session(ctx, executions)
		if ctx.Err() != nil {
			return
		}
		if stall.IsAlarm(err) {
			l.board.Set(stall.Session, fmt.Errorf("stopped: %w", err))
			l.logger.Error("the processor stopped on an alarm", "error", err)
			<-ctx.Done()
			return
		}
		if errors.Is(err, live.ErrPosition) || errors.Is(err, outbox.ErrRolledBack) || time.Since(began) > steadyAfter {
			try = 0
		}
		l.board.Set(stall.Session, err)
		if stall.Pause(ctx, try) != nil {
			return
		}
	}
}

func (l *Log) session(ctx, executions context.Context) error {
	// The session's locks go with its connection.
	conn, err := schema.Dedicated(ctx, l.pool)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := l.lease.Register(ctx, conn); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	var heartbeat sync.WaitGroup
	heartbeat.Go(func() { l.lease.Heartbeat(ctx, end) })
	err = l.takePart(ctx, conn, executions)
	if cause := context.Cause(ctx); errors.Is(cause, lead.ErrFenced) {
		err = cause
	}
	end(nil)
	heartbeat.Wait()
	return err
}

// takePart leads the service whenever nobody else does, until it fails.
func (l *Log) takePart(ctx context.Context, conn *pgx.Conn, executions context.Context) error {
	for try := 0; ; {
		leads, err := l.lease.TryLead(ctx, conn)
		if err != nil {
			return err
		}
		err = l.attachOnce(ctx, conn, leads)
		current := false
		if err == nil {
			current, err = l.bringUp(ctx, conn, leads)
		}
		if err == nil && current {
			err = l.load(ctx, conn)
		}
		if err == nil && current {
			try = 0
			l.board.Set(stall.Session, nil)
			if leads {
				err = l.lead(ctx, conn, executions)
			} else {
				l.scheduler.Begin(executions)
			}
		}
		if leads && !errors.Is(context.Cause(ctx), lead.ErrFenced) {
			// It may be asked for again at once.
			if resigned := l.lease.Resign(ctx, conn); resigned != nil {
				return errors.Join(err, resigned)
			}
		}
		switch {
		case err == nil:
			err = stall.PauseFor(ctx, hintEvery)
		case errors.Is(err, lead.ErrUnavailable) || errors.Is(err, lead.ErrReplaced):
			// The database's session continues; the log is looked for again.
			l.board.Set(stall.Session, err)
			err = stall.Pause(ctx, try)
			try++
		}
		if err != nil {
			return err
		}
	}
}

// bringUp sees to it that the live tables are those of this version: who leads
// rebuilds them, the others wait. It reports whether they are.
func (l *Log) bringUp(ctx context.Context, conn *pgx.Conn, leads bool) (bool, error) {
	if leads {
		if err := l.replay.Tidy(ctx); err != nil {
			return false, err
		}
	}
	outdated, err := l.engine.Tables().Outdated(ctx, conn)
	if err == nil && leads && !outdated {
		outdated, err = l.longPast(ctx, conn)
	}
	if err != nil || !outdated {
		return err == nil, err
	}
	if !leads {
		l.board.Set(stall.Session, errors.New("a process with another version of the fold leads; this one waits"))
		return false, nil
	}
	k, err := l.sessions.Current()
	if err != nil {
		return false, err
	}
	l.board.Set(stall.Session, nil)
	// What is recorded meanwhile gets into the log meanwhile.
	relaying, stop := context.WithCancel(ctx)
	var relay sync.WaitGroup
	relay.Go(func() { l.outbox.Relay.Run(relaying, k) })
	err = l.replay.Renew(ctx)
	stop()
	relay.Wait()
	if errors.Is(err, ErrReplaying) { // of a process that was killed, or no longer leads
		return false, nil
	}
	return err == nil, err
}

// attachOnce attaches who leads, who has no log session, and who was
// not attached when it was opened.
func (l *Log) attachOnce(ctx context.Context, conn *pgx.Conn, leads bool) error {
	lost := l.sessions.Lost()
	if !leads && !lost && l.outbox.Admitted() {
		return nil
	}
	if l.attachedAtOpen && !lost {
		l.attachedAtOpen = false
		return nil
	}
	return l.attach(ctx, conn, leads)
}

// attach finds the log, has it attested, and makes the outbox know what the log has
// of this service. Only then is anything recorded or applied.
func (l *Log) attach(ctx context.Context, conn *pgx.Conn, leads bool) error {
	if _, err := l.sessions.Register(ctx, leads); err != nil {
		return err
	}
	if err := l.outbox.Reconcile(ctx, conn); err != nil {
		return err
	}
	l.outbox.Admit(true)
	return nil
}

// rolledBack ends the lead under way: the database is at an earlier state again, so that
// the outbox has to learn from the log again.
func (l *Log) rolledBack() {
	l.outbox.Admit(false)
	l.lease.Release(outbox.ErrRolledBack)
}

// lead applies, decides, relays, and fires timers until it fails, the log's server
// is lost, or another takes over.
func (l *Log) lead(ctx context.Context, conn *pgx.Conn, executions context.Context) error {
	k, err := l.sessions.Current()
	if err != nil {
		return err
	}
	end, err := l.source.CheckPosition(ctx, k)
	if err != nil {
		return err
	}
	outer := ctx
	if err := l.outbox.NoteVersion(ctx, conn, end); err != nil {
		return err
	}
	through, err := l.outbox.DecidedThrough(ctx, conn)
	if err != nil {
		return err
	}
	l.outbox.ForgetCounter()
	ctx, cancel := context.WithCancelCause(ctx)
	done := l.lease.Begin(cancel)
	var parts sync.WaitGroup
	in := make(chan *engine.Event, source.ReadAhead)
	from := l.engine.Position() + 1
	parts.Go(func() {
		select {
		case <-k.Lost:
			cancel(lead.ErrUnavailable)
		case <-ctx.Done():
		}
	})
	parts.Go(func() { l.source.Follow(ctx, k, from, in) })
	parts.Go(func() { l.outbox.Relay.Run(ctx, k) })
	if l.sessions.Attested() {
		parts.Go(func() { l.sessions.Heartbeat(ctx, k) })
	}
	l.processor.Begin(conn, k, through, end)
	err = l.processor.Run(ctx, in, func() {
		l.scheduler.Begin(executions)
		parts.Go(func() { l.timers.Run(ctx) })
	})
	cause := context.Cause(ctx)
	cancel(nil)
	parts.Wait()
	done()
	if outer.Err() != nil && !errors.Is(context.Cause(outer), lead.ErrFenced) {
		l.sessions.Deregister(context.WithoutCancel(outer), k)
	} else if cause != nil {
		err = cause
	}
	return err
}

// hintEvery is how often a process that does not lead looks at what was applied.
const hintEvery = 200 * time.Millisecond

// longPast says whether the tables are still empty and the log before the service's
// first start is long: that is folded faster side by side.
func (l *Log) longPast(ctx context.Context, q Reader) (bool, error) {
	var position int64
	err := q.QueryRow(ctx, "SELECT sequence FROM "+schema.Quote(l.engine.Schema())+".fold_position").Scan(&position)
	if err != nil {
		return false, fmt.Errorf("read the position: %w", err)
	}
	through, err := l.outbox.DecidedThrough(ctx, q)
	return position == 0 && through > source.ChunkEvents, err
}

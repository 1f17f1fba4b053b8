package eventlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

func digestOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// steadyAfter is how long a session lasts that was none of a row of failures: what
// ended it is new.
const steadyAfter = 10 * time.Second

// runSession keeps a database session that says that this process lives, and
// leads the service while it is the first to ask: one process applies, decides
// and relays; the others record, read and execute effects.
func (l *Log) runSession(ctx context.Context) {
	executions, stop := context.WithCancel(ctx)
	defer l.work.wait()
	defer stop()
	for try := 0; ctx.Err() == nil; try++ {
		began := time.Now()
		err := l.session(ctx, executions)
		if ctx.Err() != nil {
			return
		}
		var a *alarm
		if errors.As(err, &a) {
			l.setTrouble(troubleSession, fmt.Errorf("stopped: %w", err))
			l.logger.Error("the processor stopped on an alarm", "err", err)
			<-ctx.Done()
			return
		}
		if errors.Is(err, errPosition) || errors.Is(err, errRestored) || time.Since(began) > steadyAfter {
			try = 0
		}
		l.setTrouble(troubleSession, err)
		if pause(ctx, try) != nil {
			return
		}
	}
}

func (l *Log) session(ctx, executions context.Context) error {
	// The session's locks go with its connection.
	conn, err := l.dedicated(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := l.arrive(ctx, conn); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	var alive sync.WaitGroup
	alive.Go(func() { l.stayAlive(ctx, end) })
	err = l.takePart(ctx, conn, executions)
	if cause := context.Cause(ctx); errors.Is(cause, errEnded) {
		err = cause
	}
	end(nil)
	alive.Wait()
	return err
}

// takePart leads the service whenever nobody else does, until it fails.
func (l *Log) takePart(ctx context.Context, conn *pgx.Conn, executions context.Context) error {
	for try := 0; ; {
		var leads bool
		if err := conn.QueryRow(ctx, leadSQL, l.leadLock(), l.followLock()).Scan(&leads); err != nil {
			return fmt.Errorf("database: %w", err)
		}
		err := l.attachOnce(ctx, conn, leads)
		current := false
		if err == nil {
			current, err = l.bringUp(ctx, conn, leads)
		}
		if err == nil && current {
			err = l.loadMemory(ctx, conn)
		}
		if err == nil && current {
			try = 0
			l.setTrouble(troubleSession, nil)
			if leads {
				err = l.lead(ctx, conn, executions)
			} else {
				l.work.begin(executions)
			}
		}
		if leads && !errors.Is(context.Cause(ctx), errEnded) {
			// It may be asked for again at once; a lock that is taken twice is held twice.
			if _, unlocked := conn.Exec(context.WithoutCancel(ctx), unleadSQL, l.leadLock(), l.followLock()); unlocked != nil {
				return errors.Join(err, fmt.Errorf("database: %w", unlocked))
			}
		}
		switch {
		case err == nil:
			err = pauseFor(ctx, hintEvery)
		case errors.Is(err, errAway) || errors.Is(err, errOther):
			// The database's session goes on; the log is looked for again.
			l.setTrouble(troubleSession, err)
			err = pause(ctx, try)
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
		if err := l.tidy(ctx); err != nil {
			return false, err
		}
	}
	outdated, err := l.outdated(ctx, conn)
	if err == nil && leads && !outdated {
		outdated, err = l.faraway(ctx, conn)
	}
	if err != nil || !outdated {
		return err == nil, err
	}
	if !leads {
		l.setTrouble(troubleSession, errors.New("a process with another version of the fold leads; this one waits"))
		return false, nil
	}
	k, err := l.at()
	if err != nil {
		return false, err
	}
	l.setTrouble(troubleSession, nil)
	// What is recorded meanwhile gets into the log meanwhile.
	relaying, stop := context.WithCancel(ctx)
	var relay sync.WaitGroup
	relay.Go(func() { l.relay.run(relaying, k) })
	err = l.renewFold(ctx)
	stop()
	relay.Wait()
	if errors.Is(err, ErrReplaying) { // of a process that was killed, or no longer leads
		return false, nil
	}
	return err == nil, err
}

// attachOnce attaches who leads, who has no link to the log's server, and who was
// not attached when it was opened.
func (l *Log) attachOnce(ctx context.Context, conn *pgx.Conn, leads bool) error {
	k := l.link.Load()
	if !leads && k != nil && !k.gone() && l.admitted.Load() {
		return nil
	}
	if atOpen := l.attachedAtOpen; atOpen && !k.gone() {
		l.attachedAtOpen = false
		return nil
	}
	return l.attach(ctx, conn, leads)
}

// attach finds the log, has it attested, and makes the outbox know what the log has
// of this service. Only then is anything recorded or applied.
func (l *Log) attach(ctx context.Context, conn *pgx.Conn, leads bool) error {
	if _, err := l.enter(ctx, leads); err != nil {
		return err
	}
	if err := l.reconcileAlone(ctx, conn); err != nil {
		return err
	}
	l.admitted.Store(true)
	return nil
}

// restored ends what goes on: the database went back to an earlier state, so that
// the outbox has to learn from the log again.
func (l *Log) restored() {
	l.admitted.Store(false)
	l.mu.Lock()
	end := l.endLead
	l.mu.Unlock()
	if end != nil {
		end(errRestored)
	}
}

var errRestored = errors.New("PostgreSQL went back to an earlier state")

// lead applies, decides, relays, and fires timers until it fails, the log's server
// is lost, or another takes over.
func (l *Log) lead(ctx context.Context, conn *pgx.Conn, executions context.Context) error {
	k, err := l.at()
	if err != nil {
		return err
	}
	if err := l.checkPosition(ctx, k); err != nil {
		return err
	}
	outer := ctx
	if err := l.noteVersion(ctx, conn); err != nil {
		return err
	}
	l.counter.mu.Lock()
	l.counter.known = false
	l.counter.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	l.endLead = cancel
	l.mu.Unlock()
	var parts sync.WaitGroup
	l.leading.Store(true)
	in := make(chan *logEvent, readAhead)
	from := l.position() + 1
	parts.Go(func() {
		select {
		case <-k.lost:
			cancel(errAway)
		case <-ctx.Done():
		}
	})
	parts.Go(func() { l.read(ctx, k, from, in) })
	parts.Go(func() { l.relay.run(ctx, k) })
	if l.attested {
		parts.Go(func() { l.attend(ctx, k) })
	}
	p := l.newProcessor(conn, k)
	err = p.run(ctx, in, func() {
		l.work.begin(executions)
		parts.Go(func() { l.timers.run(ctx) })
	})
	cause := context.Cause(ctx)
	cancel(nil)
	parts.Wait()
	l.leading.Store(false)
	if outer.Err() != nil && !errors.Is(context.Cause(outer), errEnded) {
		l.leave(context.WithoutCancel(outer), k)
	} else if cause != nil {
		err = cause
	}
	return err
}

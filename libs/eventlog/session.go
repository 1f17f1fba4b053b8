package eventlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
)

func digestOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// runSession keeps a database session that says that this process lives, and
// leads the service while it is the first to ask: one process applies, decides
// and relays; the others record, read and execute effects.
func (l *Log) runSession(ctx context.Context) {
	executions, stop := context.WithCancel(ctx)
	defer l.work.wait()
	defer stop()
	for try := 0; ctx.Err() == nil; try++ {
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
		if errors.Is(err, errPosition) {
			try = 0
		}
		l.setTrouble(troubleSession, err)
		if pause(ctx, try) != nil {
			return
		}
	}
}

func (l *Log) session(ctx, executions context.Context) error {
	pooled, err := l.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	// The session's locks go with its connection.
	conn := pooled.Hijack()
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", l.holder); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	for {
		var leads bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", "freshet/"+l.service+"/lead").Scan(&leads); err != nil {
			return fmt.Errorf("database: %w", err)
		}
		current, err := l.bringUp(ctx, conn, leads)
		if err != nil {
			return err
		}
		if !current {
			if err := pauseFor(ctx, hintEvery); err != nil {
				return err
			}
			continue
		}
		if err := l.loadMemory(ctx, conn); err != nil {
			return err
		}
		l.setTrouble(troubleSession, nil)
		if leads {
			return l.lead(ctx, conn, executions)
		}
		l.work.begin(executions)
		if err := pauseFor(ctx, hintEvery); err != nil {
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
	if err != nil || !outdated {
		return err == nil, err
	}
	if !leads {
		l.setTrouble(troubleSession, errors.New("a process with another version of the fold leads; this one waits"))
		return false, nil
	}
	l.setTrouble(troubleSession, nil)
	// What is recorded meanwhile gets into the log meanwhile.
	relaying, stop := context.WithCancel(ctx)
	var relay sync.WaitGroup
	relay.Go(func() { l.relay.run(relaying) })
	err = l.renewFold(ctx)
	stop()
	relay.Wait()
	if errors.Is(err, ErrReplaying) { // of a process that was killed, or no longer leads
		return false, nil
	}
	return err == nil, err
}

// lead applies, decides, relays, and fires timers until it fails or another takes over.
func (l *Log) lead(ctx context.Context, conn *pgx.Conn, executions context.Context) error {
	if err := l.checkPosition(ctx); err != nil {
		return err
	}
	if err := l.noteVersion(ctx, conn); err != nil {
		return err
	}
	l.counter.mu.Lock()
	l.counter.known = false
	l.counter.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	l.leading.Store(true)
	defer l.leading.Store(false)
	in := make(chan *logEvent, readAhead)
	from := l.position() + 1
	parts.Go(func() { l.read(ctx, from, in) })
	parts.Go(func() { l.relay.run(ctx) })
	p := l.newProcessor(conn)
	return p.run(ctx, in, func() {
		l.work.begin(executions)
		parts.Go(func() { l.timers.run(ctx) })
	})
}

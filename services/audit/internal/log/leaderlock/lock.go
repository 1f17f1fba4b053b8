// Package leaderlock elects one process of several to do work that only one may do.
//
// The leader is the process whose database session holds an advisory lock in
// PostgreSQL.
//
// # Guarantees
//
// At most one session holds the lock. Run calls the work only while its session holds
// it, and returns only after the work has returned.
//
// # How it fails
//
// A process that loses its session learns of it when it next checks, a second or a few
// later; the work's context ends then. Until then another process may lead as well, so
// the work must be harmless when two processes do it.
package leaderlock

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	tryEvery   = time.Second
	checkEvery = time.Second
	askTimeout = 3 * time.Second
)

// ErrLost: the session that held the lock ended.
var ErrLost = errors.New("the session that held the lock ended")

// Lock is one process's candidacy for a lock.
type Lock struct {
	pool *pgxpool.Pool
	name string
	held atomic.Bool
}

// New returns a candidate for the lock of the given name.
func New(pool *pgxpool.Pool, name string) *Lock { return &Lock{pool: pool, name: name} }

// Held reports whether this process is the leader, as far as it knows.
func (l *Lock) Held() bool { return l.held.Load() }

// Run waits until this process is the leader, runs work, and releases the lock. The
// work's context ends when the lock is lost.
func (l *Lock) Run(ctx context.Context, work func(context.Context) error) error {
	pooled, err := l.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("leader lock %s: %w", l.name, err)
	}
	conn := pooled.Hijack() // no other user of the pool gets it, and closing it releases the lock
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		_ = conn.Close(ctx) // the server ends it in any case
	}()
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	for {
		var got bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", "freshet/"+l.name).Scan(&got); err != nil {
			return fmt.Errorf("leader lock %s: %w", l.name, err)
		}
		if got {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.held.Store(true)
	defer l.held.Store(false)
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- work(inner) }()
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-check.C:
			ask, stop := context.WithTimeout(ctx, askTimeout)
			_, err := conn.Exec(ask, "SELECT 1")
			stop()
			if err != nil && ctx.Err() == nil {
				l.held.Store(false)
				cancel(ErrLost)
				return errors.Join(fmt.Errorf("leader lock %s: %w: %w", l.name, ErrLost, err), <-done)
			}
		}
	}
}

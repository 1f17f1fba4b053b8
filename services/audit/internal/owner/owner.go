// Package owner lets one process of several do what only one may do at a time.
//
// The owner is who holds a session's advisory lock in PostgreSQL. A process that
// loses its session is told by its context, a moment later: what it does meanwhile
// must do no harm when another does it too.
package owner

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
	patience   = 3 * time.Second // for one answer
)

// ErrLost: the session that held the lock ended.
var ErrLost = errors.New("the session that held the lock ended")

// Owner is one process's claim.
type Owner struct {
	pool *pgxpool.Pool
	name string
	held atomic.Bool
}

// New returns a claim to a name.
func New(pool *pgxpool.Pool, name string) *Owner { return &Owner{pool: pool, name: name} }

// Held tells whether this process is the owner, as far as it knows.
func (o *Owner) Held() bool { return o.held.Load() }

// Run waits until this process is the owner, runs work, and gives the claim up. The
// work's context ends when the claim is lost.
func (o *Owner) Run(ctx context.Context, work func(context.Context) error) error {
	pooled, err := o.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("owner of %s: %w", o.name, err)
	}
	conn := pooled.Hijack() // it is nobody else's, and its end frees the lock
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		_ = conn.Close(ctx) // the server ends it in any case
	}()
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	for {
		var got bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", "freshet/"+o.name).Scan(&got); err != nil {
			return fmt.Errorf("owner of %s: %w", o.name, err)
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
	o.held.Store(true)
	defer o.held.Store(false)
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
			ask, stop := context.WithTimeout(ctx, patience)
			_, err := conn.Exec(ask, "SELECT 1")
			stop()
			if err != nil && ctx.Err() == nil {
				o.held.Store(false)
				cancel(ErrLost)
				return errors.Join(fmt.Errorf("owner of %s: %w: %w", o.name, ErrLost, err), <-done)
			}
		}
	}
}

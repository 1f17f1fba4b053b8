package effects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	leaseFor     = 15 * time.Second
	leaseRenewal = leaseFor / 3
)

// leases are the rights to execute effects, of one process.
type leases struct {
	pool   *pgxpool.Pool
	io     string
	holder int64
	logger *slog.Logger
}

// take takes the right to execute an effect, and counts the attempt. A lease is
// free when it expired, when it is this process's own, or when its holder's
// session is gone. The token is 0 where somebody else has it.
func (l *leases) take(ctx context.Context, r *engine.EffectRow) (attempt int, token int64, recorded bool, err error) {
	if err = l.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+l.io+".inbox WHERE id = $1)", uuid.MustParse(r.Closes)).Scan(&recorded); err != nil || recorded {
		return 0, 0, recorded, err
	}
	err = l.pool.QueryRow(ctx, `INSERT INTO `+l.io+`.leases AS l (effect, holder, token, attempt, until)
		VALUES ($1, $2, 1, 1, now() + $3::interval)
		ON CONFLICT (effect) DO UPDATE SET holder = $2, token = l.token + 1, attempt = l.attempt + 1, until = now() + $3::interval
		WHERE l.holder = $2 OR l.until < now() OR NOT EXISTS (SELECT FROM (`+schema.HeldLocks+`) held WHERE key = l.holder)
		RETURNING token, attempt`, uuid.MustParse(r.ID), l.holder, leaseFor).Scan(&token, &attempt)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, false, nil
	}
	return attempt, token, false, err
}

// renew keeps a lease until the context ends, and ends it where the lease is lost.
func (l *leases) renew(ctx context.Context, lose context.CancelCauseFunc, r *engine.EffectRow, token int64) {
	t := time.NewTicker(leaseRenewal)
	defer t.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		tag, err := l.pool.Exec(ctx, "UPDATE "+l.io+".leases SET until = now() + $3::interval WHERE effect = $1 AND token = $2", uuid.MustParse(r.ID),
			token, leaseFor)
		switch {
		case err == nil && tag.RowsAffected() == 1:
			failures = 0
		case err == nil || failures >= 2:
			lose(errors.New("the lease was lost"))
			return
		default:
			failures++
		}
	}
}

// release gives a lease back uncounted: the attempt was stopped, it did not fail.
func (l *leases) release(ctx context.Context, r *engine.EffectRow, token int64) {
	l.settle(ctx, "UPDATE %s.leases SET until = '-infinity', attempt = attempt - 1 WHERE effect = $1 AND token = $2", r, token)
}

// expire gives a lease back for the next attempt.
func (l *leases) expire(ctx context.Context, r *engine.EffectRow, token int64) {
	l.settle(ctx, "UPDATE %s.leases SET until = '-infinity' WHERE effect = $1 AND token = $2", r, token)
}

func (l *leases) settle(ctx context.Context, sql string, r *engine.EffectRow, token int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if _, err := l.pool.Exec(ctx, fmt.Sprintf(sql, l.io), uuid.MustParse(r.ID), token); err != nil {
		l.logger.Debug("a lease has to expire", "effect", r.ID, "error", err)
	}
}

// holds returns once an execution's lease is known to be its own. A database that is
// unavailable is asked again while the lease lasts: the work is done, and may have taken hours.
func (l *leases) holds(ctx context.Context, run *Run, token int64) error {
	for try := 0; ; try++ {
		var holds bool
		err := l.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+l.io+".leases WHERE effect = $1 AND token = $2)", uuid.MustParse(run.ID), token).Scan(&holds)
		switch {
		case err == nil && holds:
			return nil
		case err == nil:
			return errors.New("the lease was lost")
		}
		if stall.Pause(ctx, try) != nil {
			return fmt.Errorf("is the lease still held: %w", err)
		}
	}
}

// drop removes the lease of an effect that has ended.
func (l *leases) drop(ctx context.Context, run *Run) {
	_, err := l.pool.Exec(ctx, "DELETE FROM "+l.io+".leases WHERE effect = $1", uuid.MustParse(run.ID))
	if err != nil {
		l.logger.Debug("a lease is left behind", "effect", run.ID, "error", err)
	}
}

package lead

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A process that is frozen, or whose link is dead while its connections stay open,
// keeps its sessions, and with them the lead, the locks of its transactions and
// everybody else waiting. PostgreSQL notes of each session when it last heard of it
// (pg_stat_activity.state_change), so that nothing has to be written for a sign of
// life. A process of which it heard nothing for SilentFor is fenced: another one of
// the same service ends its sessions. One that was wrongly taken for frozen loses time, nothing else:
// position and append are fenced against two that lead.
const (
	HeartbeatEvery = 2 * time.Second
	SilentFor      = 5 * HeartbeatEvery
)

// ErrFenced: the session lease was lost.
var ErrFenced = errors.New("the database ended this process's session; another process may lead")

// evictSQL ends an earlier session of this process that PostgreSQL still takes for
// alive, because its connection broke without a word.
const evictSQL = "SELECT pg_terminate_backend(pid) FROM (" + schema.HeldLocks + ") held WHERE key = $1"

// A session either holds its service's lead or, shared with others, followLock.
const (
	followSQL = "SELECT pg_advisory_lock($1), pg_advisory_lock_shared(hashtextextended($2, 0))"
	leadSQL   = "SELECT CASE WHEN pg_try_advisory_lock(hashtextextended($1, 0)) THEN pg_advisory_unlock_shared(hashtextextended($2, 0)) ELSE false END"
	unleadSQL = "SELECT pg_advisory_unlock(hashtextextended($1, 0)), pg_advisory_lock_shared(hashtextextended($2, 0))"
)

// heartbeatSQL is what PostgreSQL hears of a process. It says when that was, whether the
// process's session lives, and whether any follows.
const heartbeatSQL = "SELECT now(), NOT pg_try_advisory_xact_lock_shared($1), NOT pg_try_advisory_xact_lock(hashtextextended($2, 0))"

// fenceSQL ends all sessions of silent processes: those of one application_name,
// one of which leads, follows or opens. Sessions are looked up and ended by one statement,
// so that no number is another session's by then.
const fenceSQL = `WITH ours AS MATERIALIZED (
	SELECT pid, bool_or(key = hashtextextended($1, 0)) AS led FROM (` + schema.HeldLocks + `) held
	WHERE key IN (hashtextextended($1, 0), hashtextextended($2, 0), hashtextextended($3, 0)) GROUP BY pid
), silent AS MATERIALIZED (
	SELECT a.application_name AS name, now() - max(a.state_change) AS since, bool_or(o.led) AS led
	FROM pg_stat_activity a LEFT JOIN ours o USING (pid) WHERE a.application_name <> ''
	GROUP BY 1 HAVING count(o.pid) > 0 AND max(a.state_change) < now() - $4::interval
)
SELECT s.name, s.since, s.led, count(*) FILTER (WHERE pg_terminate_backend(a.pid)) FROM silent s
	JOIN pg_stat_activity a ON a.application_name = s.name GROUP BY 1, 2, 3`

func leadLock(service string) string { return "freshet/" + service + "/lead" }

func followLock(service string) string { return "freshet/" + service + "/follow" }

func openLock(service string) string { return "freshet/" + service + "/open" }

// LockOpen waits until no other process prepares the service's tables or outbox, and keeps
// others from it until unlock is called.
func LockOpen(ctx context.Context, conn *pgx.Conn, service string) (unlock func(), err error) {
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", openLock(service)); err != nil {
		return nil, err
	}
	return func() {
		ctx := context.WithoutCancel(ctx)
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", openLock(service)); err != nil {
			_ = conn.Close(ctx)
		}
	}, nil
}

// A Lease is a process's right to take part in its service: it lasts as long as the
// database session that it is bound to, and PostgreSQL hears of the process.
type Lease struct {
	pool    *pgxpool.Pool
	service string
	holder  int64 // an advisory lock of the session, which says that the process lives
	logger  *slog.Logger

	leading atomic.Bool
	mu      sync.Mutex
	end     context.CancelCauseFunc // of the lead under way
}

// NewLease returns a lease that is bound to no session yet.
func NewLease(pool *pgxpool.Pool, service string, logger *slog.Logger) (*Lease, error) {
	var r [8]byte
	if _, err := rand.Read(r[:]); err != nil {
		return nil, err
	}
	return &Lease{pool: pool, service: service, holder: int64(binary.BigEndian.Uint64(r[:]) >> 2), logger: logger}, nil //nolint:gosec // two bits are gone
}

// Leading says whether this process leads its service.
func (l *Lease) Leading() bool { return l.leading.Load() }

// Begin says that this process leads, until done is called. End is what Release calls.
func (l *Lease) Begin(end context.CancelCauseFunc) (done func()) {
	l.mu.Lock()
	l.end = end
	l.mu.Unlock()
	l.leading.Store(true)
	return func() { l.leading.Store(false) }
}

// Release ends the lead under way, where there is one.
func (l *Lease) Release(cause error) {
	l.mu.Lock()
	end := l.end
	l.mu.Unlock()
	if end != nil {
		end(cause)
	}
}

// Holder is the key of the advisory lock that says that this process lives.
func (l *Lease) Holder() int64 { return l.holder }

// TryLead takes the service's lead unless another process has it.
func (l *Lease) TryLead(ctx context.Context, conn *pgx.Conn) (leads bool, err error) {
	if err := conn.QueryRow(ctx, leadSQL, leadLock(l.service), followLock(l.service)).Scan(&leads); err != nil {
		return false, fmt.Errorf("database: %w", err)
	}
	return leads, nil
}

// Resign gives the lead back: a lock that is taken twice is held twice.
func (l *Lease) Resign(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(context.WithoutCancel(ctx), unleadSQL, leadLock(l.service), followLock(l.service)); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// Register makes a session the one that says that this process lives.
func (l *Lease) Register(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, evictSQL, l.holder)
	if err == nil {
		_, err = conn.Exec(ctx, followSQL, l.holder, followLock(l.service))
	}
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// Heartbeat lets PostgreSQL hear of this process every few seconds, however busy it
// is, until the context ends, and ends that where the process's session has ended. End is
// nil where it has no session yet: what it prepares may be locked by a silent process.
func (l *Lease) Heartbeat(ctx context.Context, end context.CancelCauseFunc) {
	var own *pgx.Conn // from when on all of the pool's were busy
	var heard time.Time
	for try := 0; ctx.Err() == nil; {
		soon, cancel := context.WithTimeout(ctx, SilentFor/2)
		var err error
		if s := l.pool.Stat(); s.AcquiredConns() == s.MaxConns() && (own == nil || own.IsClosed()) {
			own, err = pgx.ConnectConfig(soon, l.pool.Config().ConnConfig)
		}
		switch {
		case err != nil:
		case own != nil && !own.IsClosed():
			heard, err = l.beat(soon, own, heard, end != nil)
		default:
			err = l.pool.AcquireFunc(soon, func(conn *pgxpool.Conn) (err error) {
				heard, err = l.beat(soon, conn, heard, end != nil)
				return err
			})
		}
		cancel()
		switch {
		case errors.Is(err, ErrFenced):
			end(err)
		case err != nil:
			l.logger.Debug("the session lease was not renewed", "error", err)
			_ = stall.Pause(ctx, try)
			try++
		default:
			try = 0
			_ = stall.PauseFor(ctx, HeartbeatEvery)
		}
	}
	if own != nil {
		_ = own.Close(context.WithoutCancel(ctx))
	}
}

// beat returns when it was heard, by PostgreSQL's clock, and ends who is silent. Who
// was not heard for a while itself does not fence others: it may be PostgreSQL that
// was frozen, or its clock that was set.
func (l *Lease) beat(ctx context.Context, q engine.Reader, before time.Time, registered bool) (heard time.Time, err error) {
	var lives, followed bool
	if err := q.QueryRow(ctx, heartbeatSQL, l.holder, followLock(l.service)).Scan(&heard, &lives, &followed); err != nil {
		return before, err
	}
	if registered && !lives {
		return before, ErrFenced
	}
	if registered && !followed || heard.Sub(before) > SilentFor/2 {
		return heard, nil
	}
	rows, err := q.Query(ctx, fenceSQL, leadLock(l.service), followLock(l.service), openLock(l.service), SilentFor)
	if err != nil {
		return heard, err
	}
	var name string
	var since time.Duration
	var led bool
	var sessions int
	_, err = pgx.ForEachRow(rows, []any{&name, &since, &led, &sessions}, func() error {
		l.logger.Warn("a process of this service is frozen or cut off: its sessions were ended, so that others continue",
			"process", name, "silent", since.Round(time.Millisecond), "led", led, "sessions", sessions)
		return nil
	})
	return heard, err
}

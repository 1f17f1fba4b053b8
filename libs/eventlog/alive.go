package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A process that is frozen, or whose link is dead while its connections stay open,
// keeps its sessions, and with them the lead, the locks of its transactions and
// everybody else waiting. PostgreSQL notes of each session when it last heard of it
// (pg_stat_activity.state_change), so that nothing has to be written for a sign of
// life. A process of which it heard nothing for silentFor is ended by another one of
// the same service. One that was wrongly taken for frozen loses time, nothing else:
// position and append are fenced against two that lead.
const (
	beatEvery = 2 * time.Second
	silentFor = 5 * beatEvery
)

var errEnded = errors.New("the database ended this process's session; another process may lead")

// heldSQL are the advisory locks of sessions on this database.
const heldSQL = `SELECT pid, classid::bigint << 32 | objid::bigint AS key FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// arriveSQL ends an earlier session of this process that PostgreSQL still takes for
// alive, because its connection broke without a word.
const arriveSQL = "SELECT pg_terminate_backend(pid) FROM (" + heldSQL + ") held WHERE key = $1"

// A session either holds its service's lead or, shared with others, followLock.
const (
	followSQL = "SELECT pg_advisory_lock($1), pg_advisory_lock_shared(hashtextextended($2, 0))"
	leadSQL   = "SELECT CASE WHEN pg_try_advisory_lock(hashtextextended($1, 0)) THEN pg_advisory_unlock_shared(hashtextextended($2, 0)) ELSE false END"
	unleadSQL = "SELECT pg_advisory_unlock(hashtextextended($1, 0)), pg_advisory_lock_shared(hashtextextended($2, 0))"
)

// beatSQL is what PostgreSQL hears of a process. It says when that was, whether the
// process's session lives, and whether any follows.
const beatSQL = "SELECT now(), NOT pg_try_advisory_xact_lock_shared($1), NOT pg_try_advisory_xact_lock(hashtextextended($2, 0))"

// endSilentSQL ends all sessions of silent processes: those of one application_name,
// one of which leads or follows. Sessions are looked up and ended by one statement,
// so that no number is another session's by then.
const endSilentSQL = `WITH ours AS MATERIALIZED (
	SELECT pid, bool_or(key = hashtextextended($1, 0)) AS led FROM (` + heldSQL + `) held
	WHERE key IN (hashtextextended($1, 0), hashtextextended($2, 0)) GROUP BY pid
), silent AS MATERIALIZED (
	SELECT a.application_name AS name, now() - max(a.state_change) AS since, bool_or(o.led) AS led
	FROM pg_stat_activity a LEFT JOIN ours o USING (pid) WHERE a.application_name <> ''
	GROUP BY 1 HAVING count(o.pid) > 0 AND max(a.state_change) < now() - $3::interval
)
SELECT s.name, s.since, s.led, count(*) FILTER (WHERE pg_terminate_backend(a.pid)) FROM silent s JOIN pg_stat_activity a ON a.application_name = s.name GROUP BY 1, 2, 3`

func (l *Log) leadLock() string { return "freshet/" + l.service + "/lead" }

func (l *Log) followLock() string { return "freshet/" + l.service + "/follow" }

// arrive makes a session the one that says that this process lives.
func (l *Log) arrive(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, arriveSQL, l.holder)
	if err == nil {
		_, err = conn.Exec(ctx, followSQL, l.holder, l.followLock())
	}
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// stayAlive lets PostgreSQL hear of this process every few seconds, however busy it
// is, until the context ends, and ends that where the process's session has ended.
func (l *Log) stayAlive(ctx context.Context, end context.CancelCauseFunc) {
	var own *pgx.Conn // from when on all of the pool's were busy
	var heard time.Time
	for try := 0; ctx.Err() == nil; {
		soon, cancel := context.WithTimeout(ctx, silentFor/2)
		var err error
		if s := l.pool.Stat(); s.AcquiredConns() == s.MaxConns() && (own == nil || own.IsClosed()) {
			own, err = pgx.ConnectConfig(soon, l.pool.Config().ConnConfig)
		}
		switch {
		case err != nil:
		case own != nil && !own.IsClosed():
			heard, err = l.beat(soon, own, heard)
		default:
			err = l.pool.AcquireFunc(soon, func(conn *pgxpool.Conn) (err error) {
				heard, err = l.beat(soon, conn, heard)
				return err
			})
		}
		cancel()
		switch {
		case errors.Is(err, errEnded):
			end(err)
		case err != nil:
			l.logger.Debug("PostgreSQL did not hear that this process lives", "err", err)
			_ = pause(ctx, try)
			try++
		default:
			try = 0
			_ = pauseFor(ctx, beatEvery)
		}
	}
	if own != nil {
		_ = own.Close(context.WithoutCancel(ctx))
	}
}

// beat returns when it was heard, by PostgreSQL's clock, and ends who is silent. Who
// was not heard for a while itself does not judge others: it may be PostgreSQL that
// was frozen, or its clock that was set.
func (l *Log) beat(ctx context.Context, q Reader, before time.Time) (heard time.Time, err error) {
	var lives, followed bool
	if err := q.QueryRow(ctx, beatSQL, l.holder, l.followLock()).Scan(&heard, &lives, &followed); err != nil {
		return before, err
	}
	if !lives {
		return before, errEnded
	}
	if !followed || heard.Sub(before) > silentFor/2 {
		return heard, nil
	}
	rows, err := q.Query(ctx, endSilentSQL, l.leadLock(), l.followLock(), silentFor)
	if err != nil {
		return heard, err
	}
	var name string
	var since time.Duration
	var led bool
	var sessions int
	_, err = pgx.ForEachRow(rows, []any{&name, &since, &led, &sessions}, func() error {
		l.logger.Warn("a process of this service is frozen or cut off: its sessions were ended, so that others go on",
			"process", name, "silent", since.Round(time.Millisecond), "led", led, "sessions", sessions)
		return nil
	})
	return heard, err
}

package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LogSessions are this process's sessions with the log's server, one after the other.
type LogSessions struct {
	engine     *engine.Engine
	pool       *pgxpool.Pool
	nats       *nats.Conn
	attested   bool // by audit, before anything is published or applied
	board      *stall.Board
	logger     *slog.Logger
	rolledBack func()
	current    atomic.Pointer[LogSession]
}

// NewLogSessions returns sessions of which none is open. RolledBack is called where the
// database turns out to be at an earlier state than this process has seen.
func NewLogSessions(g *engine.Engine, pool *pgxpool.Pool, nc *nats.Conn, attested bool, board *stall.Board, logger *slog.Logger,
	rolledBack func()) *LogSessions {
	return &LogSessions{engine: g, pool: pool, nats: nc, attested: attested, board: board, logger: logger, rolledBack: rolledBack}
}

// Attested says whether audit attests the log before anything is published or applied.
func (l *LogSessions) Attested() bool { return l.attested }

// Close ends the current session.
func (l *LogSessions) Close() {
	if k := l.current.Load(); k != nil {
		k.Close()
	}
}

// Lost says whether there is no session, or its server process has ended.
func (l *LogSessions) Lost() bool {
	k := l.current.Load()
	return k == nil || k.Gone()
}

// Current is the session that the process has, or an error.
func (l *LogSessions) Current() (*LogSession, error) {
	k := l.current.Load()
	if k == nil {
		return nil, errNoSession
	}
	if k.Gone() {
		return nil, ErrUnavailable
	}
	return k, nil
}

// Stream is the name of the current epoch's stream; empty before the log was found.
func (l *LogSessions) Stream() string {
	if k := l.current.Load(); k != nil {
		return k.Stream
	}
	return ""
}

// RunWhileAttested runs work as long as the log is attested here, and once more whenever it is
// again, also in its next epoch, until the context or the work ends. It is for who
// reads the log side by side with the fold.
func (l *LogSessions) RunWhileAttested(ctx context.Context, work func(ctx context.Context) error) error {
	for {
		k, err := l.Current()
		if err != nil {
			if err := stall.PauseFor(ctx, reportAgain); err != nil {
				return err
			}
			continue
		}
		held, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-k.Lost:
				cancel()
			case <-held.Done():
			}
		}()
		err = work(held)
		lapsed := held.Err() != nil
		cancel()
		if ctx.Err() != nil || !lapsed {
			return err
		}
	}
}

// Register connects to the log's server and returns once the log there may
// continue. The position in the database must not move meanwhile: who leads calls it
// before it applies anything, who does not only follows.
func (l *LogSessions) Register(ctx context.Context, leads bool) (*LogSession, error) {
	lost := make(chan struct{})
	nc, err := attest.Dial(l.nats, func() { close(lost) })
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	k := &LogSession{Conn: nc, Server: attest.Server(nc), Lost: lost}
	if k.JS, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, err
	}
	if l.attested {
		err = l.await(ctx, k, leads)
	} else {
		err = l.find(ctx, k)
	}
	if err == nil {
		_, err = k.Info(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	if old := l.current.Swap(k); old != nil {
		old.Close()
	}
	return k, nil
}

// find takes the newest stream, where no audit attests: what this service applied
// is then all that the log is held against.
func (l *LogSessions) find(ctx context.Context, k *LogSession) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	name, err := attest.Current(ctx, k.JS)
	if err != nil {
		return err
	}
	s, err := k.JS.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	k.Stream, k.Created = name, s.CachedInfo().Created
	return nil
}

const (
	reportEvery   = 2 * time.Second        // while it runs
	reportAgain   = 100 * time.Millisecond // while it waits
	reportTimeout = 2 * time.Second
	reportPage    = 4000 // entries of the tail in a report
)

// await reports until audit attests the log, and gives what audit wants for it.
func (l *LogSessions) await(ctx context.Context, k *LogSession, leads bool) error {
	var answer attest.Answer
	for {
		report, err := l.report(ctx, k, leads, answer)
		if err != nil {
			return err
		}
		answer, err = ask(ctx, k, report)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case k.Gone():
			return ErrUnavailable
		case errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded):
			l.board.Set(stall.Session, errors.New("the log waits for its attestation, and audit does not answer: start it, or set FRESHET_ATTESTED=false "+
				"where there is none"))
			answer = attest.Answer{}
		case err != nil:
			return err
		case answer.Attested:
			k.Stream, k.Created, k.Archived, k.Kept = answer.Stream, answer.Created, answer.Archived, answer.Kept
			return nil
		case answer.WantTail || len(answer.Want) > 0:
			continue
		case answer.Alarm:
			l.board.Set(stall.Session, stall.Alarmf("the log is not attested: %s", answer.Wait))
		default:
			l.board.Set(stall.Session, fmt.Errorf("the log is not attested yet: %s", answer.Wait))
		}
		if err := stall.PauseFor(ctx, reportAgain); err != nil {
			return err
		}
	}
}

// report says what the database has, and what the answer before wanted.
func (l *LogSessions) report(ctx context.Context, k *LogSession, leads bool, wanted attest.Answer) (attest.Report, error) {
	r := attest.Report{Service: l.engine.Service(), Server: k.Server, Follows: !leads}
	if !leads {
		return r, nil
	}
	if err := l.reportPosition(ctx, &r); err != nil {
		return r, err
	}
	if wanted.WantTail {
		if err := l.reportTail(ctx, &r, wanted.TailAfter); err != nil {
			return r, err
		}
	}
	if len(wanted.Want) > 0 {
		if err := l.reportEvents(ctx, &r, wanted.Want, int(k.Conn.MaxPayload()/3)); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (l *LogSessions) reportPosition(ctx context.Context, r *attest.Report) error {
	var sequence int64
	var number string
	err := l.pool.QueryRow(ctx, "SELECT epoch, sequence, digest FROM "+schema.Quote(l.engine.Schema())+".fold_position").Scan(&number, &sequence, &r.Digest)
	if err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	if r.Sequence = uint64(sequence); r.Sequence > 0 {
		r.Epoch = attest.Number(attest.Prefix + number)
	}
	return nil
}

// Heartbeat tells audit how far the service is while it runs, forgets what was applied
// as soon as the archive has it, and detects a database rollback.
func (l *LogSessions) Heartbeat(ctx context.Context, k *LogSession) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for {
		r := attest.Report{Service: l.engine.Service(), Server: k.Server, Runs: true}
		saved := l.engine.Saved()
		err := l.reportPosition(ctx, &r)
		if err == nil && r.Sequence < saved {
			l.logger.Error("PostgreSQL was rolled back while this process ran", "applied", saved, "database", r.Sequence)
			l.rolledBack()
			return
		}
		var answer attest.Answer
		if err == nil {
			answer, err = ask(ctx, k, r)
		}
		if err == nil && answer.Attested && answer.Archived > 0 {
			err = l.forgetTail(ctx, answer.Archived)
		}
		if err != nil && ctx.Err() == nil {
			l.logger.Debug("audit was not told how far the service is", "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Deregister tells audit that the position is final: nobody needs to wait for it.
func (l *LogSessions) Deregister(ctx context.Context, k *LogSession) {
	if k.Gone() || !l.attested {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r := attest.Report{Service: l.engine.Service(), Server: k.Server, Leaves: true}
	err := l.reportPosition(ctx, &r)
	if err == nil {
		_, err = ask(ctx, k, r)
	}
	if err != nil {
		l.logger.Debug("audit was not told that the service stopped", "error", err)
	}
}

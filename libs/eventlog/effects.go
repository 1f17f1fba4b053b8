package eventlog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	leaseFor       = 15 * time.Second
	leaseRenewal   = leaseFor / 3
	defaultTimeout = time.Minute
	maxBackoff     = time.Minute
)

// An effectRow is an open effect, as the fold has it.
type effectRow struct {
	id        string
	closes    string // id of the fact that closes it
	kind      string
	namespace string
	cause     Cause
	args      json.RawMessage
	opened    uint64
	ordinal   int
}

// work gives every open effect an execution: so many at once per kind, namespaces
// in turn, the oldest of each first.
type work struct {
	l *Log

	mu    sync.Mutex
	ctx   context.Context // of executions; nil until the fold is live
	wg    sync.WaitGroup
	open  map[string]*execution
	kinds map[string]*lane
}

// An execution is an open effect in this process.
type execution struct {
	row      *effectRow
	canceled bool
	cancel   context.CancelFunc
}

// A lane is the effects of one kind that wait for a place.
type lane struct {
	running    int
	namespaces []string // in turn
	waiting    map[string][]*execution
}

func newWork(l *Log) *work {
	return &work{l: l, open: map[string]*execution{}, kinds: map[string]*lane{}}
}

// count is how many effects are open and can be executed here.
func (w *work) count() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for _, x := range w.open {
		if _, ok := w.l.handlers[x.row.kind]; ok {
			n++
		}
	}
	return n
}

// begin starts executions; they end with the context.
func (w *work) begin(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil || w.ctx.Err() != nil {
		w.ctx = ctx
	}
	w.dispatch()
}

// wait returns when no execution is left.
func (w *work) wait() { w.wg.Wait() }

// reset brings the open effects in line with what the tables say.
func (w *work) reset(rows index[*effectRow]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	is := make(map[string]bool, len(rows))
	var opened []*effectRow
	for _, r := range rows {
		is[r.id] = true
		if w.open[r.id] == nil {
			opened = append(opened, r)
		}
	}
	slices.SortFunc(opened, func(a, b *effectRow) int {
		return cmp.Or(cmp.Compare(a.opened, b.opened), cmp.Compare(a.ordinal, b.ordinal), cmp.Compare(a.id, b.id))
	})
	for id := range w.open {
		if !is[id] {
			w.close(id)
		}
	}
	for _, r := range opened {
		w.add(r)
	}
	w.dispatch()
}

// change follows a committed transaction.
func (w *work) change(opened []*effectRow, closed []string) {
	if len(opened)+len(closed) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range opened {
		w.add(r)
	}
	for _, id := range closed {
		w.close(id)
	}
	w.dispatch()
}

func (w *work) add(r *effectRow) {
	x := &execution{row: r}
	w.open[r.id] = x
	if _, ok := w.l.handlers[r.kind]; !ok {
		w.l.logger.Error("an effect stays open: this process has no handler of its kind", "effect", r.id, "kind", r.kind)
	}
	w.enqueue(x)
}

func (w *work) close(id string) {
	x := w.open[id]
	if x == nil {
		return
	}
	delete(w.open, id)
	x.canceled = true
	if x.cancel != nil {
		x.cancel()
	}
}

func (w *work) enqueue(x *execution) {
	k := w.kinds[x.row.kind]
	if k == nil {
		k = &lane{waiting: map[string][]*execution{}}
		w.kinds[x.row.kind] = k
	}
	ns := x.row.namespace
	if len(k.waiting[ns]) == 0 && !slices.Contains(k.namespaces, ns) {
		k.namespaces = append(k.namespaces, ns)
	}
	k.waiting[ns] = append(k.waiting[ns], x)
}

// next takes the oldest waiting effect of the namespace whose turn it is.
func (k *lane) next() *execution {
	for len(k.namespaces) > 0 {
		ns := k.namespaces[0]
		k.namespaces = k.namespaces[1:]
		q := k.waiting[ns]
		for len(q) > 0 && q[0].canceled {
			q = q[1:]
		}
		if len(q) == 0 {
			delete(k.waiting, ns)
			continue
		}
		x := q[0]
		if q = q[1:]; len(q) > 0 {
			k.namespaces = append(k.namespaces, ns)
			k.waiting[ns] = q
		} else {
			delete(k.waiting, ns)
		}
		return x
	}
	return nil
}

// dispatch starts what can be started. The lock is held.
func (w *work) dispatch() {
	if w.ctx == nil || w.ctx.Err() != nil {
		return
	}
	for kind, k := range w.kinds {
		h, ok := w.l.handlers[kind]
		if !ok {
			continue
		}
		for k.running < max(h.Concurrency, 1) {
			x := k.next()
			if x == nil {
				break
			}
			ctx, cancel := context.WithCancel(w.ctx)
			x.cancel = cancel
			k.running++
			w.wg.Go(func() {
				again := w.l.execute(ctx, h, x)
				cancel()
				w.finished(k, x, again)
			})
		}
	}
}

// finished frees a place; again is after how long the effect is to be tried once
// more, negative for never.
func (w *work) finished(k *lane, x *execution, again time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k.running--
	x.cancel = nil
	if again >= 0 && !x.canceled && w.ctx.Err() == nil {
		time.AfterFunc(again, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if !x.canceled {
				w.enqueue(x)
				w.dispatch()
			}
		})
	}
	w.dispatch()
}

// execute makes one attempt at an effect, under a lease.
func (l *Log) execute(ctx context.Context, h Handler, x *execution) (again time.Duration) {
	row := x.row
	attempt, token, recorded, err := l.lease(ctx, row)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			l.logger.Warn("no lease for an effect", "effect", row.id, "kind", row.kind, "err", err)
		}
		return time.Second
	case recorded:
		return -1
	case token == 0:
		return leaseRenewal // somebody else's
	}
	timeout := h.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	attempts := max(h.Attempts, 1)
	run := &Run{ID: row.id, Kind: row.kind, Namespace: row.namespace, Cause: row.cause, Attempt: attempt, Args: row.args, log: l}
	held, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		l.renew(held, lose, row, token)
	}()
	var draft event.Event
	if attempt > attempts {
		err = errors.New("the last attempt was interrupted")
	} else {
		limited, cancel := context.WithTimeout(held, timeout)
		draft, err = callRun(limited, h.Run, run)
		if err != nil && limited.Err() != nil && held.Err() == nil {
			err = fmt.Errorf("timed out after %s: %w", timeout, err)
		}
		cancel()
	}
	if held.Err() != nil {
		lose(nil)
		<-renewed
		l.release(ctx, row, token)
		return leaseRenewal
	}
	var permanent *permanentError
	if err != nil {
		l.logger.Warn("effect failed", "effect", row.id, "kind", row.kind, "attempt", attempt, "of", attempts, "err", err)
		if attempt < attempts && !errors.As(err, &permanent) {
			lose(nil)
			<-renewed
			l.expire(ctx, row, token)
			return backoff(attempt)
		}
		if draft, err = callFailed(held, h.Failed, run, err); err != nil {
			l.logger.Error("an effect cannot say that it failed", "effect", row.id, "kind", row.kind, "err", err)
			return backoff(attempt)
		}
	}
	if err := l.closeEffect(held, run, h, token, draft); err != nil {
		if ctx.Err() == nil {
			l.logger.Error("an effect's result is not recorded", "effect", row.id, "kind", row.kind, "err", err)
		}
		if held.Err() != nil { // the database was away for too long, or the process ends
			lose(nil)
			<-renewed
			l.release(ctx, row, token)
		}
		return backoff(attempt)
	}
	return -1
}

// closeEffect records what an effect ended with. A result that is no fact of the
// service is the handler's failure.
func (l *Log) closeEffect(ctx context.Context, run *Run, h Handler, token int64, draft event.Event) error {
	id := resultID(l.service, run.ID, 0)
	n, err := l.factEntry(draft, id, run.Cause, "")
	if err != nil {
		l.logger.Error("an effect's result cannot be recorded", "effect", run.ID, "kind", run.Kind, "err", err)
		if draft, err = callFailed(ctx, h.Failed, run, Permanent(err)); err != nil {
			return err
		}
		if n, err = l.factEntry(draft, id, run.Cause, ""); err != nil {
			return err
		}
	}
	if err := l.holds(ctx, run, token); err != nil {
		return err
	}
	n.firstWins = true
	if _, err := l.submit(ctx, []*entry{n}); err != nil {
		return err
	}
	_, err = l.pool.Exec(ctx, "DELETE FROM "+quote(l.schema+"_io")+".leases WHERE effect = $1", uuid.MustParse(run.ID))
	if err != nil {
		l.logger.Debug("a lease is left behind", "effect", run.ID, "err", err)
	}
	return nil
}

// holds returns once an execution's lease is known to be its own. A database that is
// away is asked again while the lease lasts: the work is done, and may have taken hours.
func (l *Log) holds(ctx context.Context, run *Run, token int64) error {
	for try := 0; ; try++ {
		var holds bool
		err := l.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+quote(l.schema+"_io")+".leases WHERE effect = $1 AND token = $2)", uuid.MustParse(run.ID), token).Scan(&holds)
		switch {
		case err == nil && holds:
			return nil
		case err == nil:
			return errors.New("the lease was lost")
		}
		if pause(ctx, try) != nil {
			return fmt.Errorf("is the lease still held: %w", err)
		}
	}
}

func backoff(attempt int) time.Duration {
	return min(200*time.Millisecond<<min(attempt, 10), maxBackoff)
}

func callRun(ctx context.Context, fn func(context.Context, *Run) (event.Event, error), run *Run) (_ event.Event, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(ctx, run)
}

func callFailed(ctx context.Context, fn func(context.Context, *Run, error) (event.Event, error), run *Run, cause error) (_ event.Event, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(ctx, run, cause)
}

// Decode reads the effect's arguments.
func (r *Run) Decode(v any) error { return json.Unmarshal(r.Args, v) }

// Record records a fact on the way, with an ordinal from 1 of the effect's own.
// The first one recorded under an ordinal stands.
func (r *Run) Record(ctx context.Context, ordinal int, draft event.Event) (Receipt, error) {
	if ordinal < 1 {
		return Receipt{}, errors.New("eventlog: facts on the way have ordinals from 1")
	}
	n, err := r.log.factEntry(draft, resultID(r.log.service, r.ID, ordinal), r.Cause, "")
	if err != nil {
		return Receipt{}, err
	}
	n.firstWins = true
	receipts, err := r.log.submit(ctx, []*entry{n})
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

// lease takes the right to execute an effect, and counts the attempt. A lease is
// free when it expired, when it is this process's own, or when its holder's
// session is gone. The token is 0 where somebody else has it.
func (l *Log) lease(ctx context.Context, r *effectRow) (attempt int, token int64, recorded bool, err error) {
	io := quote(l.schema + "_io")
	if err = l.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+io+".inbox WHERE id = $1)", uuid.MustParse(r.closes)).Scan(&recorded); err != nil || recorded {
		return 0, 0, recorded, err
	}
	err = l.pool.QueryRow(ctx, `INSERT INTO `+io+`.leases AS l (effect, holder, token, attempt, until)
		VALUES ($1, $2, 1, 1, now() + $3::interval)
		ON CONFLICT (effect) DO UPDATE SET holder = $2, token = l.token + 1, attempt = l.attempt + 1, until = now() + $3::interval
		WHERE l.holder = $2 OR l.until < now() OR NOT EXISTS (SELECT FROM (`+heldSQL+`) held WHERE key = l.holder)
		RETURNING token, attempt`, uuid.MustParse(r.id), l.holder, leaseFor).Scan(&token, &attempt)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, false, nil
	}
	return attempt, token, false, err
}

// renew keeps a lease until the context ends, and ends it where the lease is lost.
func (l *Log) renew(ctx context.Context, lose context.CancelCauseFunc, r *effectRow, token int64) {
	t := time.NewTicker(leaseRenewal)
	defer t.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		tag, err := l.pool.Exec(ctx, "UPDATE "+quote(l.schema+"_io")+".leases SET until = now() + $3::interval WHERE effect = $1 AND token = $2", uuid.MustParse(r.id), token, leaseFor)
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
func (l *Log) release(ctx context.Context, r *effectRow, token int64) {
	l.settleLease(ctx, "UPDATE %s.leases SET until = '-infinity', attempt = attempt - 1 WHERE effect = $1 AND token = $2", r, token)
}

// expire gives a lease back for the next attempt.
func (l *Log) expire(ctx context.Context, r *effectRow, token int64) {
	l.settleLease(ctx, "UPDATE %s.leases SET until = '-infinity' WHERE effect = $1 AND token = $2", r, token)
}

func (l *Log) settleLease(ctx context.Context, sql string, r *effectRow, token int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if _, err := l.pool.Exec(ctx, fmt.Sprintf(sql, quote(l.schema+"_io")), uuid.MustParse(r.id), token); err != nil {
		l.logger.Debug("a lease has to expire", "effect", r.id, "err", err)
	}
}

package effects

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A Scheduler gives every open effect an execution: so many at once per kind, namespaces
// in turn, the oldest of each first.
type Scheduler struct {
	handlers map[string]Handler
	outbox   *outbox.Outbox
	service  string
	leases   *leases
	logger   *slog.Logger

	mu    sync.Mutex
	ctx   context.Context // of executions; nil until the fold is live
	wg    sync.WaitGroup
	open  map[string]*execution
	kinds map[string]*queue
}

// An execution is an open effect in this process.
type execution struct {
	row      *engine.EffectRow
	canceled bool
	cancel   context.CancelFunc
}

// A queue is the effects of one kind that wait for a place.
type queue struct {
	running    int
	namespaces []string // in turn
	waiting    map[string][]*execution
}

// NewScheduler returns a scheduler with a handler of each kind. Holder is the key of the
// advisory lock that says that this process lives.
func NewScheduler(handlers []Handler, o *outbox.Outbox, pool *pgxpool.Pool, g *engine.Engine, holder int64, logger *slog.Logger) (*Scheduler, error) {
	w := &Scheduler{
		handlers: map[string]Handler{}, outbox: o, service: g.Service(), logger: logger,
		leases: &leases{pool: pool, io: schema.IO(g.Schema()), holder: holder, logger: logger},
		open:   map[string]*execution{}, kinds: map[string]*queue{},
	}
	for _, h := range handlers {
		if _, twice := w.handlers[h.Kind]; twice || h.Kind == "" || h.Run == nil || h.Failed == nil {
			return nil, fmt.Errorf("eventlog: the handler of effect %q is duplicate or incomplete: give each kind one, with Run and Failed", h.Kind)
		}
		w.handlers[h.Kind] = h
	}
	return w, nil
}

// Count is how many effects are open and can be executed here.
func (w *Scheduler) Count() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for _, x := range w.open {
		if _, ok := w.handlers[x.row.Kind]; ok {
			n++
		}
	}
	return n
}

// Begin starts executions; they end with the context.
func (w *Scheduler) Begin(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil || w.ctx.Err() != nil {
		w.ctx = ctx
	}
	w.dispatch()
}

// Wait returns when no execution is left.
func (w *Scheduler) Wait() { w.wg.Wait() }

// Reset brings the open effects in line with what the tables say.
func (w *Scheduler) Reset(rows []*engine.EffectRow) {
	w.mu.Lock()
	defer w.mu.Unlock()
	is := make(map[string]bool, len(rows))
	var opened []*engine.EffectRow
	for _, r := range rows {
		is[r.ID] = true
		if w.open[r.ID] == nil {
			opened = append(opened, r)
		}
	}
	slices.SortFunc(opened, func(a, b *engine.EffectRow) int {
		return cmp.Or(cmp.Compare(a.Opened, b.Opened), cmp.Compare(a.Ordinal, b.Ordinal), cmp.Compare(a.ID, b.ID))
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

// Change follows a committed transaction.
func (w *Scheduler) Change(opened []*engine.EffectRow, closed []string) {
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

func (w *Scheduler) add(r *engine.EffectRow) {
	x := &execution{row: r}
	w.open[r.ID] = x
	if _, ok := w.handlers[r.Kind]; !ok {
		w.logger.Error("an effect stays open: this process has no handler of its kind", "effect", r.ID, "kind", r.Kind)
	}
	w.enqueue(x)
}

func (w *Scheduler) close(id string) {
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

func (w *Scheduler) enqueue(x *execution) {
	k := w.kinds[x.row.Kind]
	if k == nil {
		k = &queue{waiting: map[string][]*execution{}}
		w.kinds[x.row.Kind] = k
	}
	ns := x.row.Namespace
	if len(k.waiting[ns]) == 0 && !slices.Contains(k.namespaces, ns) {
		k.namespaces = append(k.namespaces, ns)
	}
	k.waiting[ns] = append(k.waiting[ns], x)
}

// next takes the oldest waiting effect of the namespace whose turn it is.
func (k *queue) next() *execution {
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
func (w *Scheduler) dispatch() {
	if w.ctx == nil || w.ctx.Err() != nil {
		return
	}
	for kind, k := range w.kinds {
		h, ok := w.handlers[kind]
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
				again := w.execute(ctx, h, x.row)
				cancel()
				w.finished(k, x, again)
			})
		}
	}
}

// finished frees a place; again is after how long the effect is to be tried once
// more, negative for never.
func (w *Scheduler) finished(k *queue, x *execution, again time.Duration) {
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

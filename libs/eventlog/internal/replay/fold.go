package replay

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"sync"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// Fold folds the log from the position on, up to and with an event. Progress is
// called after every transaction.
func (b *Shadow) Fold(ctx context.Context, origin source.Origin, until uint64, progress func(position uint64)) error {
	if b.Position() >= until {
		return nil
	}
	// Its statements are short and many: compiling them costs more than it saves.
	outbox, err := schema.Dedicated(ctx, b.r.pool)
	if err != nil {
		return err
	}
	defer func() { _ = outbox.Close(context.WithoutCancel(ctx)) }()
	if _, err := outbox.Exec(ctx, "SET jit = off"); err != nil {
		return err
	}
	// The first error ends all stages, and is the one to be told.
	g, inner := errgroup.WithContext(ctx)
	// No stage waits for another that is slow for a moment.
	read, ready := make(chan source.Chunk, 4), make(chan *prepared, 4)
	g.Go(func() error {
		defer close(read)
		return b.r.source.Past(inner, b.session, origin, b.Position(), until, func(c source.Chunk) error { return source.Send(inner, read, c) })
	})
	g.Go(func() error {
		defer close(ready)
		if err := b.LocateDecisions(inner, outbox); err != nil {
			return err
		}
		for c := range read {
			p, err := b.prepare(inner, outbox, c)
			if err != nil {
				return err
			}
			if err := source.Send(inner, ready, p); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		for p := range ready {
			if err := b.apply(inner, p); err != nil {
				return err
			}
			if progress != nil {
				progress(b.Position())
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if b.Position() != until {
		return fmt.Errorf("the log ended at %d, and %d was to be reached", b.Position(), until)
	}
	return nil
}

// LocateDecisions learns where in the outbox the decisions are that each event led to,
// so that it is asked for these only, and by number. What was decided on an event that
// was applied is in there with it; later come only decisions on events that had been
// parked, which are looked up where these are tried again. The service continues deciding
// meanwhile: one statement sees everything up to a number, and the next one what came
// after it, so that no decision is found twice.
func (b *Shadow) LocateDecisions(ctx context.Context, outbox engine.Reader) error {
	// All of them are in the index, the later ones in few rows.
	sql, args := "SELECT cause, sequence FROM "+schema.IO(b.engine.Schema())+".outbox WHERE cause IS NOT NULL", []any{}
	if b.located > 0 {
		sql, args = sql+" AND sequence > $1", []any{b.located}
	}
	rows, err := outbox.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("read what was decided on: %w", err)
	}
	var cause string
	var sequence int64
	_, err = pgx.ForEachRow(rows, []any{&cause, &sequence}, func() error {
		hash := maphash.String(b.seed, cause)
		if _, some := b.first[hash]; some {
			b.further[hash] = append(b.further[hash], sequence)
		} else {
			b.first[hash] = sequence
		}
		b.located = max(b.located, sequence)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was decided on: %w", err)
	}
	return nil
}

// prepared is a chunk with everything that its application needs.
type prepared struct {
	source.Chunk
	recorded map[string][]engine.Decision // by cause
}

// prepare decodes a chunk and finds the decisions that its events led to.
func (b *Shadow) prepare(ctx context.Context, outbox engine.Reader, c source.Chunk) (*prepared, error) {
	var all sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), 4)
	share := (len(c) + workers - 1) / workers
	for at := 0; at < len(c); at += share {
		part := c[at:min(at+share, len(c))]
		all.Go(func() {
			for i, v := range part {
				if i%32 == 0 {
					runtime.Gosched() // whoever has heard from the database goes first: it has nothing to do until then
				}
				b.engine.Open(v)
				if e, ok := b.instead[v.ID]; ok {
					v.Replace(e)
				}
			}
		})
	}
	all.Wait()
	// Any event may have led to decisions, also of a type that is no longer consumed.
	var decided []int64
	for _, v := range c {
		hash := maphash.String(b.seed, v.ID)
		if first, some := b.first[hash]; some {
			decided = append(append(decided, first), b.further[hash]...)
		}
	}
	// An event may be in the log twice, and its decisions were made once.
	slices.Sort(decided)
	decided = slices.Compact(decided)
	p := &prepared{Chunk: c}
	if len(decided) == 0 {
		return p, nil
	}
	var err error
	if p.recorded, err = b.r.outbox.DecisionsAt(ctx, outbox, decided); err != nil {
		return nil, err
	}
	return p, nil
}

// sendAhead is how many statements of a chunk are sent while more events are applied.
const sendAhead = 1024

// apply applies a chunk in one transaction. Where an event is at fault, the chunk
// is applied one by one up to it.
func (b *Shadow) apply(ctx context.Context, p *prepared) error {
	err := b.attempt(ctx, p, p.Chunk, nil)
	if !engine.IsDomain(err) {
		return err
	}
	for i, v := range p.Chunk {
		err := b.attempt(ctx, p, p.Chunk[i:i+1], nil)
		f := engine.FailureOf(err)
		if f != nil && b.verifier != nil {
			// Is it the event's application that fails, or the decision on it?
			b.verifier.skip = v.Stream
			if again := b.attempt(ctx, p, p.Chunk[i:i+1], nil); again == nil {
				b.verifier.fails(v, err)
				continue
			}
		}
		if err == nil {
			continue
		}
		if f == nil {
			return err
		}
		if !b.parks {
			return &UnappliableError{Sequence: v.Stream, ID: v.ID, Type: v.Name, err: err}
		}
		b.r.logger.Error("event parked by a rebuild", "id", v.ID, "type", v.Name, "sequence", v.Stream, "reason", f.Reason, "code", f.Code, "error", err)
		if err := b.attempt(ctx, p, p.Chunk[i:i+1], f); err != nil {
			return err
		}
		b.parked++
	}
	return nil
}

func (b *Shadow) attempt(ctx context.Context, p *prepared, events source.Chunk, park *engine.Failure) (err error) {
	t := b.engine.Begin(b.conn, &b.mode)
	if !b.traced && b.merger != nil {
		t.Merge(b.merger.Merge)
	}
	defer func() {
		if err != nil {
			t.Abandon(ctx)
		}
	}()
	b.verifier.begin()
	for _, v := range events {
		if b.traced {
			t.Exec("SELECT set_config('freshet.event', $1, true)", fmt.Sprintf("%d %s %s", v.Stream, v.ID, v.Name))
		}
		if _, err := t.Step(ctx, v, p.recorded[v.ID], park); err != nil {
			return err
		}
		if t.Queued() >= sendAhead {
			if err := t.SendAhead(ctx); err != nil {
				return err
			}
		}
	}
	decisions := t.Decisions()
	if len(decisions) > 0 && !b.parks {
		return stall.Alarmf("a replay decided %s, because of %s", decisions[0].Event.Type(), decisions[0].Cause)
	}
	t.Seal(events[len(events)-1])
	names, sequences, digests := t.Sources(nil)
	t.Exec(b.move, names, sequences, digests, int64(t.Position()), b.session.Epoch(), t.Digest(), t.Now()) //nolint:gosec // a position of the log
	if err := t.Finish(ctx); err != nil {
		return err
	}
	t.Commit()
	b.entries = append(b.entries, decisions...)
	b.verifier.commit()
	return nil
}

// Located is how many causes have a decision whose place in the outbox is known, and how
// many decisions these have beside their first.
func (b *Shadow) Located() (causes, further int) {
	for _, more := range b.further {
		further += len(more)
	}
	return len(b.first), further
}

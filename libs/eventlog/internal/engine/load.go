package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Load takes up the committed state of the service's live tables.
func (g *Engine) Load(ctx context.Context, q Reader) error {
	m := newMemory()
	var sequence, version int64
	err := q.QueryRow(ctx, "SELECT sequence, digest, now, version FROM "+schema.Quote(g.schema)+".fold_position").Scan(&sequence, &m.digest, &m.now, &version)
	if err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	if version != int64(g.Fold.Version) {
		return stall.Alarmf("the fold in the database has version %d, this process has %d", version, g.Fold.Version)
	}
	m.sequence, m.now = uint64(sequence), m.now.UTC()
	for _, load := range []func(context.Context, Reader, *memory) error{g.loadSources, g.loadEffects, g.loadTimers, g.loadParked} {
		if err := load(ctx, q, &m); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mem, g.saved = m, m.sequence
	return nil
}

func (g *Engine) loadSources(ctx context.Context, q Reader, m *memory) error {
	var source string
	var sequence int64
	var digest []byte
	return each(ctx, q, "sources", "SELECT source, sequence, digest FROM "+schema.Quote(g.schema)+".fold_sources", []any{&source, &sequence, &digest}, func() {
		m.sources[source] = sourceState{uint64(sequence), bytes.Clone(digest)}
	})
}

func (g *Engine) loadEffects(ctx context.Context, q Reader, m *memory) error {
	var r EffectRow
	var id uuid.UUID
	var args []byte
	var opened int64
	return each(ctx, q, "effects", `SELECT id, kind, namespace, cause, correlation, hops, traceparent, args::text, opened, ordinal
		FROM `+schema.Quote(g.schema)+".fold_effects",
		[]any{&id, &r.Kind, &r.Namespace, &r.Cause.ID, &r.Cause.Correlation, &r.Cause.Hops, &r.Cause.Traceparent, &args, &opened, &r.Ordinal}, func() {
			row := r
			row.ID, row.Opened, row.Args = id.String(), uint64(opened), json.RawMessage(bytes.Clone(args))
			row.Closes = envelope.ResultID(g.service, row.ID, 0)
			m.effects[row.Closes] = &row
		})
}

func (g *Engine) loadTimers(ctx context.Context, q Reader, m *memory) error {
	var r TimerRow
	var id uuid.UUID
	var fact []byte
	var bad error
	err := each(ctx, q, "timers", `SELECT namespace, name, id, generation, due, root, cause, correlation, hops, traceparent, fact::text
		FROM `+schema.Quote(g.schema)+".fold_timers",
		[]any{&r.Namespace, &r.Name, &id, &r.Generation, &r.Due, &r.Root, &r.Cause.ID, &r.Cause.Correlation, &r.Cause.Hops, &r.Cause.Traceparent, &fact}, func() {
			row := r
			row.ID, row.Due = id.String(), r.Due.UTC()
			row.Fact = TimerFact{}
			if err := json.Unmarshal(fact, &row.Fact); err != nil {
				bad = fmt.Errorf("timer %s: %w", row.Name, err)
			}
			m.timers[row.Key()] = &row
			m.firing[envelope.ResultID(g.service, row.ID, 0)] = row.Key()
		})
	if err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	var due time.Time
	return each(ctx, q, "timers", "SELECT fact, due FROM "+schema.Quote(g.schema)+".fold_timers_stale", []any{&id, &due}, func() {
		m.stale[id.String()] = due.UTC()
	})
}

func (g *Engine) loadParked(ctx context.Context, q Reader, m *memory) error {
	var r parkedRow
	var sequence int64
	var event []byte
	return each(ctx, q, "parked events", `SELECT id, sequence, queued, type, namespace, subject, correlation, reason, code, event
		FROM `+schema.Quote(g.schema)+".fold_parked",
		[]any{&r.id, &sequence, &r.queued, &r.typ, &r.namespace, &r.subject, &r.correlation, &r.reason, &r.code, &event}, func() {
			row := r
			row.sequence, row.data = uint64(sequence), bytes.Clone(event)
			m.parked[row.id] = &row
		})
}

func each(ctx context.Context, q Reader, what, sql string, into []any, fn func()) error {
	rows, err := q.Query(ctx, sql)
	if err == nil {
		_, err = pgx.ForEachRow(rows, into, func() error { fn(); return nil })
	}
	if err != nil {
		return fmt.Errorf("read the %s: %w", what, err)
	}
	return nil
}

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
)

// resolveParked follows event_retried and event_discarded: the named event is
// applied or dropped, and then whatever waited and no longer has to, in the log's
// order. What fails is parked again.
func (t *Transaction) resolveParked(ctx context.Context, v *Event, recorded []Decision, deciding bool) error {
	var named struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(v.Event.Data(), &named); err != nil {
		return Invalid(err)
	}
	row, ok := t.stage.parked.get(named.Event)
	if !ok || row.queued {
		return nil
	}
	t.dropParked(row.id)
	if v.Resolves == Retried {
		if err := t.again(ctx, row, v, recorded, deciding); err != nil {
			return err
		}
	}
	for {
		var waiting []*parkedRow
		t.stage.parked.each(func(_ string, r *parkedRow) {
			if r.queued {
				waiting = append(waiting, r)
			}
		})
		slices.SortFunc(waiting, func(a, b *parkedRow) int { return int(int64(a.sequence) - int64(b.sequence)) })
		progress := false
		for _, r := range waiting {
			w := t.g.reread(r)
			if t.blocked(w) {
				continue
			}
			t.dropParked(r.id)
			if err := t.again(ctx, r, nil, nil, deciding); err != nil {
				return err
			}
			progress = true
		}
		if !progress {
			return nil
		}
	}
}

func (g *Engine) reread(r *parkedRow) *Event {
	v := &Event{Stream: r.sequence, Type: g.Type(r.typ), ID: r.id, Data: r.data}
	v.Decode(g.Codec)
	return v
}

// again tries an event that was parked. Its failure undoes its own changes
// only, and parks it: because of the retry that failed, or of itself where it was
// only waiting.
func (t *Transaction) again(ctx context.Context, r *parkedRow, retry *Event, recorded []Decision, deciding bool) error {
	v := t.g.reread(r)
	cause, at := envelope.Cause{ID: v.ID, Correlation: v.ID}, t.stage.now
	if v.Err == nil {
		cause, at = envelope.CauseOf(v.Event), v.Event.Time()
	}
	if retry != nil {
		cause, at = envelope.CauseOf(retry.Event), retry.Event.Time()
	}
	old, err := t.Recorded(ctx, t, []*Event{v})
	if err != nil {
		return err
	}
	own := old[v.ID]
	if x := t.mode.Verifier; x != nil {
		x.Note(own)
	}
	if retry == nil {
		recorded = own
	}
	for _, e := range recorded {
		if q, ok := t.g.parkedBy(e.Event); ok && q.Event == v.ID {
			return t.parkAs(ctx, v, nil, recorded, cause, at)
		}
	}
	t.Exec("SAVEPOINT again")
	if err := t.flush(ctx); err != nil {
		return err
	}
	before := t.stage.snapshot()
	entries := len(t.entries)
	err = t.applyAndDecide(ctx, v, own, deciding)
	if err == nil {
		t.Exec("RELEASE SAVEPOINT again")
		err = t.flush(ctx)
	}
	if err == nil {
		return nil
	}
	f := FailureOf(err)
	if f == nil {
		return err
	}
	t.g.Logger.Error("event parked again", "id", v.ID, "type", v.Name, "reason", f.Reason, "code", f.Code, "error", err)
	t.batch.QueuedQueries = nil
	if _, err := t.conn.PgConn().Exec(ctx, "ROLLBACK TO SAVEPOINT again").ReadAll(); err != nil {
		return errors.Join(errors.New("undo a failed retry"), err)
	}
	t.stage.restore(before)
	t.entries = t.entries[:entries]
	return t.parkAs(ctx, v, f, nil, cause, at)
}

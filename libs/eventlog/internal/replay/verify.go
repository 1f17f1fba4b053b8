package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
)

// Verify folds the log once more side by side with what is live, decides every event again,
// and compares: each decision with the recorded one and with the log's, and every
// table with the live one.
//
// Both are compared at one position without stopping the service: the live tables
// are read in one snapshot of the database, which names the position it is of, and
// the shadow fold goes exactly as far.
//
// The error says why it could not be found out; differences are in the report. A
// decision that another version of the fold made is reported and fails nothing.
func (r *Replay) Verify(ctx context.Context, from source.Origin, progress func(Progress)) (_ Report, err error) {
	out := Report{Service: r.engine.Service(), From: from, Version: r.engine.Version()}
	if r.renewing.Load() != nil {
		return out, ErrReplaying
	}
	conn, err := r.replayLock(ctx)
	if err != nil {
		return out, err
	}
	b, err := r.shadowOn(ctx, conn, r.engine.Schema()+suffixVerify)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, b.Close(ctx)) }()
	if b.verifier, err = r.newVerifier(ctx, b.conn); err != nil {
		return out, err
	}
	b.mode.Verifier = b.verifier

	until, err := r.livePosition(ctx, r.pool)
	if err != nil {
		return out, err
	}
	began := time.Now()
	err = b.Fold(ctx, from, until, reporter(progress, PhaseFold, until))
	if err == nil && progress != nil && until == 0 {
		progress(Progress{Phase: PhaseFold})
	}
	var live side
	if err == nil {
		if live, until, err = r.snapshot(ctx); err == nil {
			defer func() { _ = live.conn.Close(context.WithoutCancel(ctx)) }()
			err = b.Fold(ctx, from, until, reporter(progress, PhaseFold, until))
		}
	}
	out.Events, out.Decisions = b.Position(), b.verifier.decisions
	out.rate(began)
	out.verified(b.verifier)
	var fault *UnappliableError
	if errors.As(err, &fault) {
		out.Failed++
		if out.Difference == nil {
			out.Difference = &Difference{Kind: DiffersApply, Sequence: fault.Sequence, Event: fault.ID, Type: fault.Type,
				Version: b.verifier.version(fault.Sequence), Detail: "was applied, and cannot be any more: " + fault.err.Error()}
		}
		return out, nil
	}
	if err != nil {
		return out, err
	}
	if progress != nil {
		progress(Progress{Phase: PhaseCompare, Done: until, Of: until})
	}
	found, err := compare(ctx, live, side{b.conn, b.schema})
	if err != nil {
		return out, err
	}
	out.Tables, out.Rows, out.Digest = found.tables, found.rows, found.digest
	out.Failed += int64(len(found.differ))
	if len(found.differ) > 0 {
		d, err := r.locate(ctx, from, until, found.differ, progress)
		if err != nil {
			return out, err
		}
		if out.Difference == nil || d.Sequence != 0 && d.Sequence < out.Difference.Sequence {
			out.Difference = d
		}
	}
	out.Equal = out.Failed == 0
	return out, nil
}

func (r *Report) verified(j *verifier) {
	r.Failed, r.Reported, r.Difference, r.Other = j.failed, j.reported, j.first, j.other
}

// livePosition is how far the live tables are.
func (r *Replay) livePosition(ctx context.Context, q engine.Reader) (uint64, error) {
	var n int64
	if err := q.QueryRow(ctx, "SELECT sequence FROM "+schema.Quote(r.engine.Schema())+".fold_position").Scan(&n); err != nil {
		return 0, fmt.Errorf("read the position: %w", err)
	}
	return uint64(n), nil //nolint:gosec // a position of the log
}

// snapshot is a connection that sees the live tables as they are now, and where
// that is in the log: both move in one transaction, and so are seen as one.
func (r *Replay) snapshot(ctx context.Context) (_ side, at uint64, err error) {
	conn, err := schema.Dedicated(ctx, r.pool)
	if err != nil {
		return side{}, 0, err
	}
	if err = canonical(ctx, conn); err == nil {
		_, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	}
	if err == nil {
		at, err = r.livePosition(ctx, conn)
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return side{}, 0, err
	}
	return side{conn, r.engine.Schema()}, at, nil
}

package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/jackc/pgx/v5"
)

// Verify folds the log once more beside what is live, decides every event again,
// and compares: each decision with the recorded one and with the log's, and every
// table with the live one.
//
// Both are compared at one position without stopping the service: the live tables
// are read in one snapshot of the database, which names the position it is of, and
// the fold beside goes exactly as far.
//
// The error says why it could not be found out; differences are in the report. A
// decision that another version of the fold made is reported and fails nothing.
func (l *Log) Verify(ctx context.Context, from Origin, progress func(Progress)) (_ Report, err error) {
	r := Report{Service: l.service, From: from, Version: l.fold.Version}
	if l.renewing.Load() != nil {
		return r, ErrReplaying
	}
	conn, err := l.replayLock(ctx)
	if err != nil {
		return r, err
	}
	b, err := l.beside(ctx, conn, l.schema+suffixVerify)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.Close(ctx)) }()
	if b.judge, err = l.newJudge(ctx, b.conn); err != nil {
		return r, err
	}
	b.shadow.judge = b.judge

	until, err := l.livePosition(ctx, l.pool)
	if err != nil {
		return r, err
	}
	began := time.Now()
	err = b.Fold(ctx, from, until, reporter(progress, PhaseFold, until))
	if err == nil && progress != nil && until == 0 {
		progress(Progress{Phase: PhaseFold})
	}
	var live side
	if err == nil {
		if live, until, err = l.snapshot(ctx); err == nil {
			defer func() { _ = live.conn.Close(context.WithoutCancel(ctx)) }()
			err = b.Fold(ctx, from, until, reporter(progress, PhaseFold, until))
		}
	}
	r.Events, r.Decisions = b.Position(), b.judge.decisions
	r.rate(began)
	r.judged(b.judge)
	var fault *UnappliableError
	if errors.As(err, &fault) {
		r.Failed++
		if r.Difference == nil {
			r.Difference = &Difference{Kind: DiffersApply, Sequence: fault.Sequence, Event: fault.ID, Type: fault.Type, Version: b.judge.version(fault.Sequence), Detail: "was applied, and cannot be any more: " + fault.err.Error()}
		}
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if progress != nil {
		progress(Progress{Phase: PhaseCompare, Done: until, Of: until})
	}
	found, err := compare(ctx, live, side{b.conn, b.schema})
	if err != nil {
		return r, err
	}
	r.Tables, r.Rows, r.Digest = found.tables, found.rows, found.digest
	r.Failed += int64(len(found.differ))
	if len(found.differ) > 0 {
		d, err := l.locate(ctx, from, until, found.differ, progress)
		if err != nil {
			return r, err
		}
		if r.Difference == nil || d.Sequence != 0 && d.Sequence < r.Difference.Sequence {
			r.Difference = d
		}
	}
	r.Equal = r.Failed == 0
	return r, nil
}

func (r *Report) judged(j *judge) {
	r.Failed, r.Reported, r.Difference, r.Other = j.failed, j.reported, j.first, j.other
}

// livePosition is how far the live tables are.
func (l *Log) livePosition(ctx context.Context, q Reader) (uint64, error) {
	var n int64
	if err := q.QueryRow(ctx, "SELECT sequence FROM "+quote(l.schema)+".fold_position").Scan(&n); err != nil {
		return 0, fmt.Errorf("read the position: %w", err)
	}
	return uint64(n), nil //nolint:gosec // a position of the log
}

// snapshot is a connection that sees the live tables as they are now, and where
// that is in the log: both move in one transaction, and so are seen as one.
func (l *Log) snapshot(ctx context.Context) (_ side, at uint64, err error) {
	conn, err := l.dedicated(ctx)
	if err != nil {
		return side{}, 0, err
	}
	if err = canonical(ctx, conn); err == nil {
		_, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	}
	if err == nil {
		at, err = l.livePosition(ctx, conn)
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return side{}, 0, err
	}
	return side{conn, l.schema}, at, nil
}

// locate finds the event behind rows that differ. The log is folded once more, and
// every change of these rows is kept with the event that made it. Where the live row
// is as an earlier event left it, the event that followed is the one that diverges;
// else it is the last one that wrote the row.
func (l *Log) locate(ctx context.Context, from Origin, until uint64, differ []rowDifference, progress func(Progress)) (*Difference, error) {
	b, err := l.newBeside(ctx, l.schema+suffixRows)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close(ctx) }()
	b.traced = true
	for _, d := range differ {
		if err := b.trace(ctx, d); err != nil {
			return nil, err
		}
	}
	if err := b.Fold(ctx, from, until, reporter(progress, PhaseLocate, until)); err != nil {
		return nil, err
	}
	var first *Difference
	for i := range differ {
		d, err := b.traceOf(ctx, &differ[i], until)
		if err != nil {
			return nil, err
		}
		d.Version = l.fold.Version
		if first == nil || d.Sequence != 0 && (first.Sequence == 0 || d.Sequence < first.Sequence) {
			first = d
		}
	}
	return first, nil
}

// trace keeps every version of a row with the event that made it.
func (b *Beside) trace(ctx context.Context, d rowDifference) error {
	tables, err := sqlbatch.Tables(ctx, b.conn, b.schema)
	if err != nil {
		return err
	}
	t := tables[d.table]
	conditions := func(row string) string {
		out := make([]string, len(d.key))
		for i, k := range d.key {
			out[i] = fmt.Sprintf("format('%%s', %s.%s) = %s", row, quote(k), literal(d.values[i]))
		}
		if len(out) == 0 {
			return "true"
		}
		return strings.Join(out, " AND ")
	}
	columns := func(row string) string {
		names := quoted(dumped(t, d.table))
		for i := range names {
			names[i] = row + "." + names[i]
		}
		return strings.Join(names, ", ")
	}
	sql := fmt.Sprintf(`
		CREATE TABLE IF NOT EXISTS %[1]s.fold_traced (table_name text, at text, step bigserial, version text);
		CREATE FUNCTION %[1]s.%[2]s() RETURNS trigger LANGUAGE plpgsql AS $f$
		BEGIN
			IF TG_OP <> 'DELETE' AND (%[3]s) THEN
				INSERT INTO %[1]s.fold_traced (table_name, at, version) SELECT %[5]s, current_setting('freshet.event'), row_to_json(x)::text FROM (SELECT %[6]s) x;
			ELSIF TG_OP = 'DELETE' AND (%[4]s) THEN
				INSERT INTO %[1]s.fold_traced (table_name, at, version) SELECT %[5]s, current_setting('freshet.event'), '';
			END IF;
			RETURN NULL;
		END $f$;
		CREATE TRIGGER fold_trace AFTER INSERT OR UPDATE OR DELETE ON %[1]s.%[7]s FOR EACH ROW EXECUTE FUNCTION %[1]s.%[2]s()`,
		quote(b.schema), quote("fold_trace_"+d.table), conditions("NEW"), conditions("OLD"), literal(d.table), columns("NEW"), quote(d.table))
	if _, err := b.conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("trace %s: %w", d.table, err)
	}
	return nil
}

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// traceOf tells from a row's versions which event diverges.
func (b *Beside) traceOf(ctx context.Context, d *rowDifference, until uint64) (*Difference, error) {
	out := &Difference{Kind: DiffersTable, Row: d.table + " " + strings.Join(d.values, "/"), Live: d.live, Again: d.again}
	rows, err := b.conn.Query(ctx, "SELECT at, version FROM "+quote(b.schema)+".fold_traced WHERE table_name = $1 ORDER BY step", d.table)
	if err != nil {
		return nil, err
	}
	type version struct{ At, Row string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[version])
	if err != nil {
		return nil, fmt.Errorf("read the trace of %s: %w", d.table, err)
	}
	if strings.HasPrefix(d.table, "fold_position") || strings.HasPrefix(d.table, "fold_sources") {
		out.Sequence, out.Detail = until, "the log's numbers or digests are not those that were applied"
		return out, nil
	}
	at := -1
	for i, v := range all {
		if v.Row == d.live {
			at = i + 1 // the change after the version that is live
		}
	}
	switch {
	case len(all) == 0:
		out.Detail = "no event of the log ever wrote this row"
		return out, nil
	case at >= 0 && at < len(all):
		out.Detail = "the live row is as it was before this event"
	case d.live == "":
		at = len(all) - 1
		for at > 0 && all[at-1].Row != "" {
			at--
		}
		out.Detail = "this event made the row, and it is not there"
	default:
		at = len(all) - 1
		out.Detail = "this event wrote the row last, and left it otherwise"
	}
	var sequence uint64
	if _, err := fmt.Sscanf(all[at].At, "%d %s %s", &sequence, &out.Event, &out.Type); err != nil {
		return nil, fmt.Errorf("read the trace of %s: %w", d.table, err)
	}
	out.Sequence = sequence
	return out, nil
}

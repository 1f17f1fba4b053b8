package replay

import (
	"context"
	"fmt"
	"strings"

	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/jackc/pgx/v5"
)

// locate finds the event behind rows that differ. The log is folded once more, and
// every change of these rows is kept with the event that made it. Where the live row
// is as an earlier event left it, the event that followed is the one that diverges;
// else it is the last one that wrote the row.
func (r *Replay) locate(ctx context.Context, from source.Origin, until uint64, differ []rowDifference, progress func(Progress)) (*Difference, error) {
	b, err := r.NewShadow(ctx, r.engine.Schema()+suffixRows)
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
		d.Version = r.engine.Version()
		if first == nil || d.Sequence != 0 && (first.Sequence == 0 || d.Sequence < first.Sequence) {
			first = d
		}
	}
	return first, nil
}

// trace keeps every version of a row with the event that made it.
func (b *Shadow) trace(ctx context.Context, d rowDifference) error {
	tables, err := sqlbatch.Tables(ctx, b.conn, b.schema)
	if err != nil {
		return err
	}
	t := tables[d.table]
	conditions := func(row string) string {
		out := make([]string, len(d.key))
		for i, k := range d.key {
			out[i] = fmt.Sprintf("format('%%s', %s.%s) = %s", row, schema.Quote(k), literal(d.values[i]))
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
		schema.Quote(b.schema), schema.Quote("fold_trace_"+d.table), conditions("NEW"), conditions("OLD"), literal(d.table), columns("NEW"), schema.Quote(d.table))
	if _, err := b.conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("trace %s: %w", d.table, err)
	}
	return nil
}

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// traceOf tells from a row's versions which event diverges.
func (b *Shadow) traceOf(ctx context.Context, d *rowDifference, until uint64) (*Difference, error) {
	out := &Difference{Kind: DiffersTable, Row: d.table + " " + strings.Join(d.values, "/"), Live: d.live, Again: d.again}
	rows, err := b.conn.Query(ctx, "SELECT at, version FROM "+schema.Quote(b.schema)+".fold_traced WHERE table_name = $1 ORDER BY step", d.table)
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

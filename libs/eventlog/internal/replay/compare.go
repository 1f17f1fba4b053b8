package replay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/sqlbatch"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// notDumped are columns of the position that say who folded, not what.
var notDumped = map[string][]string{"fold_position": {"epoch", "version", "tables"}}

// canonical makes a connection write values in one way only.
func canonical(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.PgConn().Exec(ctx, "SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex'; "+
		"SET extra_float_digits = 1").ReadAll()
	return err
}

// dumped are a table's columns in the order of the dump: the key's first.
func dumped(t sqlbatch.Table, name string) []string {
	rest := slices.DeleteFunc(slices.Clone(t.Columns), func(c string) bool {
		return slices.Contains(t.Key, c) || slices.Contains(notDumped[name], c)
	})
	slices.Sort(rest)
	return append(slices.Clone(t.Key), rest...)
}

func quoted(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = schema.Quote(n)
	}
	return out
}

func copySQL(t sqlbatch.Table, in, name string) string {
	order := t.Key
	if len(order) == 0 { // none of folded; the dump has an order all the same
		order = dumped(t, name)
	}
	by := quoted(order)
	for i := range by {
		by[i] = fmt.Sprint(slices.Index(dumped(t, name), order[i]) + 1)
	}
	return fmt.Sprintf("COPY (SELECT %s FROM %s.%s ORDER BY %s) TO STDOUT", strings.Join(quoted(dumped(t, name)), ", "), schema.Quote(in),
		schema.Quote(name), strings.Join(by, ", "))
}

// A side is one of two schemas that are held against each other.
type side struct {
	conn   *pgx.Conn
	schema string
}

// compared is what a comparison of two schemas found.
type compared struct {
	tables int
	rows   int64
	digest string // of the dump, where both are equal
	differ []rowDifference
}

// A rowDifference is the first row of a table that differs.
type rowDifference struct {
	table       string
	key         []string // columns
	values      []string // of the key, as texts
	live, again string   // the row as JSON; empty where there is none
}

// compare holds two schemas' dumps against each other. A dump is the canonical content
// of a schema of folded tables: every table by name, its columns by name, its rows in
// the order of the primary key. Equal state has equal dumps, whoever folded it, in
// whatever batches.
func compare(ctx context.Context, live, again side) (compared, error) {
	var out compared
	if err := errors.Join(canonical(ctx, live.conn), canonical(ctx, again.conn)); err != nil {
		return out, err
	}
	folded, err := sqlbatch.Tables(ctx, again.conn, again.schema)
	if err != nil {
		return out, err
	}
	served, err := sqlbatch.Tables(ctx, live.conn, live.schema)
	if err != nil {
		return out, err
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(folded)) {
		t := folded[name]
		if other, ok := served[name]; !ok || !slices.Equal(dumped(other, name), dumped(t, name)) {
			return out, fmt.Errorf("the live table %s has other columns than the fold makes", name)
		}
		fmt.Fprintf(sum, "%s (%s)\n", name, strings.Join(dumped(t, name), ", ")) //nolint:errcheck // a hash takes everything
		n, a, b, err := firstDifference(ctx, live, again, name, t, sum)
		if err != nil {
			return out, fmt.Errorf("compare %s: %w", name, err)
		}
		out.tables++
		out.rows += n
		if a == nil && b == nil {
			continue
		}
		d, err := explain(ctx, live, again, name, t, a, b)
		if err != nil {
			return out, fmt.Errorf("compare %s: %w", name, err)
		}
		out.differ = append(out.differ, d)
	}
	for name := range served {
		if _, ok := folded[name]; !ok {
			return out, fmt.Errorf("the live schema has a table that the fold does not make: %s", name)
		}
	}
	if len(out.differ) == 0 {
		out.digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	}
	return out, nil
}

var errDiffers = errors.New("differs")

// firstDifference runs through a table on both sides at once, and returns the first
// line that is not the same; nil for both where there is none.
func firstDifference(ctx context.Context, live, again side, name string, t sqlbatch.Table, sum io.Writer) (rows int64, a, b []byte, err error) {
	g, inner := errgroup.WithContext(ctx)
	reader := func(s side) *bufio.Reader {
		r, w := io.Pipe()
		stop := context.AfterFunc(inner, func() { _ = r.CloseWithError(errDiffers) })
		g.Go(func() error {
			defer stop()
			_, err := s.conn.PgConn().CopyTo(inner, w, copySQL(t, s.schema, name))
			_ = w.CloseWithError(err)
			return err
		})
		return bufio.NewReaderSize(r, 256<<10)
	}
	left, right := reader(live), reader(again)
	differs := false
	g.Go(func() error {
		for {
			x, errX := left.ReadBytes('\n')
			y, errY := right.ReadBytes('\n')
			if errX != nil && !errors.Is(errX, io.EOF) {
				return errX
			}
			if errY != nil && !errors.Is(errY, io.EOF) {
				return errY
			}
			if !bytes.Equal(x, y) {
				differs, a, b = true, x, y
				// The rest is read, so that both connections can be used again.
				_, errX := io.Copy(io.Discard, left)
				_, errY := io.Copy(io.Discard, right)
				return errors.Join(errX, errY)
			}
			if len(x) == 0 {
				return nil
			}
			rows++
			if _, err := sum.Write(x); err != nil {
				return err
			}
		}
	})
	if err := g.Wait(); err != nil {
		return rows, nil, nil, err
	}
	if differs {
		return rows, append([]byte{}, a...), append([]byte{}, b...), nil
	}
	return rows, nil, nil, nil
}

// explain tells a row that is missing from one that is too many and one that changed.
func explain(ctx context.Context, live, again side, name string, t sqlbatch.Table, a, b []byte) (rowDifference, error) {
	d := rowDifference{table: name, key: t.Key}
	for i, line := range [][]byte{a, b} {
		if len(line) == 0 {
			continue
		}
		values := keyOfLine(line, len(t.Key))
		x, err := rowAsJSON(ctx, live, name, t, values)
		if err != nil {
			return d, err
		}
		y, err := rowAsJSON(ctx, again, name, t, values)
		if err != nil {
			return d, err
		}
		// The key of the live line is the first that differs unless the other side
		// has it too, further on.
		if x != y || i == 1 {
			d.values, d.live, d.again = values, x, y
			if x != y {
				return d, nil
			}
		}
	}
	return d, nil
}

// keyOfLine are the first fields of a line of COPY's text.
func keyOfLine(line []byte, n int) []string {
	fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), "\t", n+1)
	out := make([]string, 0, n)
	unescape := strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n", `\r`, "\r", `\b`, "\b", `\f`, "\f", `\v`, "\v")
	for _, f := range fields[:min(n, len(fields))] {
		out = append(out, unescape.Replace(f))
	}
	return out
}

func rowAsJSON(ctx context.Context, s side, name string, t sqlbatch.Table, values []string) (string, error) {
	conditions, args := make([]string, len(t.Key)), make([]any, len(t.Key))
	for i, k := range t.Key {
		conditions[i], args[i] = fmt.Sprintf("format('%%s', %s) = $%d", schema.Quote(k), i+1), values[i]
	}
	if len(conditions) == 0 {
		return "", nil
	}
	var row string
	err := s.conn.QueryRow(ctx, fmt.Sprintf("SELECT row_to_json(x)::text FROM (SELECT %s FROM %s.%s WHERE %s) x",
		strings.Join(quoted(dumped(t, name)), ", "), schema.Quote(s.schema), schema.Quote(name), strings.Join(conditions, " AND ")), args...).Scan(&row)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return row, err
}

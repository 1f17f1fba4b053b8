package sqlbatch

import (
	"context"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A shape is what is known of one statement's text.
type shape struct {
	table  string
	key    []int  // arguments that are the primary key, from 0
	merged string // over arrays; empty if the statement cannot be merged
	types  []string
}

// minMerge is how many statements are worth an array.
const minMerge = 3

// A Merger merges the statements of one connection. It is not for use by several at once.
type Merger struct {
	conn   *pgx.Conn
	tables map[string]Table
	shapes map[string]*shape
}

// New returns a merger of statements that write these tables through a connection.
func New(conn *pgx.Conn, tables map[string]Table) *Merger {
	return &Merger{conn: conn, tables: tables, shapes: map[string]*shape{}}
}

// A level is what can be sent in any order: statements of different rows, by their text.
type level []group

// A group are the statements of one text.
type group struct {
	shape   *shape
	queries []*pgx.QueuedQuery
}

func (v *level) add(s *shape, q *pgx.QueuedQuery) {
	for i := range *v { // few texts write one table
		if g := &(*v)[i]; g.shape == s {
			g.queries = append(g.queries, q)
			return
		}
	}
	*v = append(*v, group{s, []*pgx.QueuedQuery{q}})
}

// levels are the statements of one table; each row's second is a level below its first.
type levels struct {
	all   []level
	depth map[string]int // of a row's last statement
}

// Merge returns a batch with the same effect as the given one.
func (m *Merger) Merge(ctx context.Context, b *pgx.Batch) *pgx.Batch {
	if b.Len() < minMerge {
		return b
	}
	out := &pgx.Batch{}
	tables := map[string]*levels{}
	var order []*levels
	flush := func() {
		for _, t := range order {
			for _, v := range t.all {
				for _, g := range v {
					g.emit(out)
				}
			}
		}
		clear(tables)
		order = order[:0]
	}
	for _, q := range b.QueuedQueries {
		s := m.shape(ctx, q.SQL)
		key, ok := "", false
		if s.merged != "" {
			key, ok = s.keyOf(q.Arguments)
		}
		if !ok {
			flush()
			out.QueuedQueries = append(out.QueuedQueries, q)
			continue
		}
		t := tables[s.table]
		if t == nil {
			t = &levels{depth: map[string]int{}}
			tables[s.table] = t
			order = append(order, t)
		}
		n := t.depth[key]
		t.depth[key] = n + 1
		if n == len(t.all) {
			t.all = append(t.all, nil)
		}
		t.all[n].add(s, q)
	}
	flush()
	return out
}

// emit sends a group as one statement, where it is big enough and can be.
func (g group) emit(out *pgx.Batch) {
	columns := make([]any, len(g.shape.types))
	ok := len(g.queries) >= minMerge
	for i := 0; i < len(columns) && ok; i++ {
		columns[i], ok = arrayOf(g.queries, i, g.shape.types[i])
	}
	if !ok {
		out.QueuedQueries = append(out.QueuedQueries, g.queries...)
		return
	}
	out.Queue(g.shape.merged, columns...)
}

// arrayOf is one argument of all statements of a group. Texts that stand for
// something else, such as the text of a UUID, are left to PostgreSQL to read.
func arrayOf(group []*pgx.QueuedQuery, i int, typ string) (any, bool) {
	values := make([]any, len(group))
	texts := 0
	for n, q := range group {
		if i >= len(q.Arguments) {
			return nil, false
		}
		values[n] = plain(q.Arguments[i])
		if _, ok := values[n].(string); ok {
			texts++
		}
	}
	switch typ {
	case "text", "varchar", "json", "jsonb":
		return values, true
	}
	if texts == 0 {
		return values, true
	}
	var b strings.Builder
	b.WriteByte('{')
	for n, v := range values {
		if n > 0 {
			b.WriteByte(',')
		}
		switch v := v.(type) {
		case nil:
			b.WriteString("NULL")
		case string:
			b.WriteByte('"')
			_, _ = quoteElement.WriteString(&b, v)
			b.WriteByte('"')
		default:
			return nil, false
		}
	}
	b.WriteByte('}')
	return b.String(), true
}

var quoteElement = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// plain is an argument without a typed nil.
func plain(v any) any {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return nil
		}
	}
	if b, ok := v.([]byte); ok && b == nil {
		return nil
	}
	return v
}

// keyOf is the primary key of a statement's row as text; not ok where two equal keys
// could have different texts.
func (s *shape) keyOf(args []any) (string, bool) {
	if len(args) != len(s.types) {
		return "", false
	}
	if len(s.key) == 1 {
		return keyText(args[s.key[0]], s.types[s.key[0]])
	}
	var b []byte
	for _, i := range s.key {
		text, ok := keyText(args[i], s.types[i])
		if !ok {
			return "", false
		}
		b = append(strconv.AppendInt(b, int64(len(text)), 10), ':')
		b = append(b, text...)
	}
	return string(b), true
}

// keyText is one column of a key, of a type of PostgreSQL. What is given as text and is
// none may be written in several ways.
func keyText(arg any, typ string) (string, bool) {
	switch v := arg.(type) {
	case uuid.UUID:
		return v.String(), true
	case time.Time:
		return strconv.FormatInt(v.UnixMicro(), 10), true
	}
	switch r := reflect.ValueOf(arg); {
	case r.CanInt():
		return strconv.FormatInt(r.Int(), 10), true
	case r.CanUint():
		return strconv.FormatUint(r.Uint(), 10), true
	case r.Kind() == reflect.Bool:
		return strconv.FormatBool(r.Bool()), true
	case r.Kind() == reflect.String:
		return r.String(), typ == "text" || typ == "varchar"
	}
	return "", false
}

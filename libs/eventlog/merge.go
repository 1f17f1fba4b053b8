package eventlog

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A replay sends many events' statements at once. Most of them touch one row each,
// which its primary key names, so that the order of two of them matters only where
// they are of one row. Such statements are merged: those of one text that are of
// different rows become one statement over arrays. What cannot be shown to be of one
// row is sent as it is, after everything before it.

// A shape is what is known of one statement's text.
type shape struct {
	table  string
	key    []int  // arguments that are the primary key, from 0
	merged string // over arrays; empty if the statement cannot be merged
	types  []string
}

// A table of the fold.
type table struct {
	columns []string
	key     []string // the primary key's columns, in their order
	unique  bool     // it has another unique index
}

// minMerge is how many statements are worth an array.
const minMerge = 3

// merger merges the statements of one connection.
type merger struct {
	conn   *pgx.Conn
	tables map[string]table
	shapes map[string]*shape
}

func newMerger(conn *pgx.Conn, tables map[string]table) *merger {
	return &merger{conn: conn, tables: tables, shapes: map[string]*shape{}}
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

// merge returns a batch with the same effect as the given one.
func (m *merger) merge(ctx context.Context, b *pgx.Batch) *pgx.Batch {
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

var (
	spaces     = regexp.MustCompile(`\s+`)
	insertText = regexp.MustCompile(`(?i)^INSERT INTO ([a-z_][a-z0-9_]*) ?(?:AS ([a-z_][a-z0-9_]*) ?)?\(([a-z0-9_, ]+)\) ?VALUES ?\((.*?)\)( ON CONFLICT .*)?$`)
	onConflict = regexp.MustCompile(`(?i)^ ON CONFLICT ?\(([a-z0-9_, ]+)\) ?DO (NOTHING|UPDATE SET .*)$`)
	updateText = regexp.MustCompile(`(?i)^UPDATE ([a-z_][a-z0-9_]*) SET (.+) WHERE (.+)$`)
	deleteText = regexp.MustCompile(`(?i)^DELETE FROM ([a-z_][a-z0-9_]*) WHERE (.+)$`)
	argument   = regexp.MustCompile(`\$(\d+)`)
	oneArg     = regexp.MustCompile(`^\$(\d+)$`)
	equals     = regexp.MustCompile(`^([a-z_][a-z0-9_]*) ?= ?\$(\d+)$`)
	// Anything that may look at other rows, depend on more than its row, or hide an
	// argument or a boundary from these patterns.
	beyond = regexp.MustCompile(`(?i)\b(SELECT|RETURNING|FROM|USING|OR|DEFAULT|random|now|nextval)\b|--|/\*|;|"|\?`)
	nested = regexp.MustCompile(`(?i)\b(NOT|CASE|BETWEEN)\b|\(`)
	and    = regexp.MustCompile(`(?i) AND `)
)

func (m *merger) shape(ctx context.Context, sql string) *shape {
	if s, ok := m.shapes[sql]; ok {
		return s
	}
	s := m.read(sql)
	if s.merged != "" && !m.typed(ctx, sql, s) {
		s.merged = ""
	}
	m.shapes[sql] = s
	return s
}

// typed completes the merged text with the types of its arrays.
func (m *merger) typed(ctx context.Context, sql string, s *shape) bool {
	d, err := m.conn.PgConn().Prepare(ctx, "", sql, nil)
	if err != nil || len(d.ParamOIDs) == 0 {
		return false
	}
	arrays, names := make([]string, len(d.ParamOIDs)), make([]string, len(d.ParamOIDs))
	for i, oid := range d.ParamOIDs {
		t, ok := m.conn.TypeMap().TypeForOID(oid)
		if !ok || strings.HasPrefix(t.Name, "_") {
			return false
		}
		if _, ok := m.conn.TypeMap().TypeForName("_" + t.Name); !ok {
			return false
		}
		n := strconv.Itoa(i + 1)
		arrays[i], names[i] = "$"+n+"::"+t.Name+"[]", "p"+n
		s.types = append(s.types, t.Name)
	}
	s.merged = strings.Replace(s.merged, "{rows}", "unnest("+strings.Join(arrays, ", ")+") AS merged_("+strings.Join(names, ", ")+")", 1)
	return true
}

// read finds out whether a statement is of one row, and which.
func (m *merger) read(sql string) *shape {
	no := &shape{}
	text := strings.TrimSpace(spaces.ReplaceAllString(sql, " "))
	if strings.ContainsAny(text, "{}") {
		return no
	}
	if p := insertText.FindStringSubmatch(text); p != nil {
		return m.readInsert(text, p)
	}
	if p := updateText.FindStringSubmatch(text); p != nil {
		t, ok := m.tables[p[1]]
		if !ok || t.unique || beyond.MatchString(p[2]) || slices.ContainsFunc(t.key, func(k string) bool { return sets(p[2], k) }) {
			return no
		}
		key, ok := pins(p[3], t.key)
		if !ok {
			return no
		}
		return &shape{table: p[1], key: key, merged: fmt.Sprintf("UPDATE %s SET %s FROM {rows} WHERE %s", p[1], rows(p[2]), rows(p[3]))}
	}
	if p := deleteText.FindStringSubmatch(text); p != nil {
		t, ok := m.tables[p[1]]
		if !ok {
			return no
		}
		key, ok := pins(p[2], t.key)
		if !ok {
			return no
		}
		return &shape{table: p[1], key: key, merged: fmt.Sprintf("DELETE FROM %s USING {rows} WHERE %s", p[1], rows(p[2]))}
	}
	return no
}

func (m *merger) readInsert(text string, p []string) *shape {
	no := &shape{}
	name, alias, conflict := p[1], p[2], p[5]
	columns, values := list(p[3]), list(p[4])
	t, ok := m.tables[name]
	if !ok || t.unique || len(columns) != len(values) || beyond.MatchString(p[4]) || beyond.MatchString(conflict) || strings.Contains(conflict, "$") {
		return no
	}
	if conflict != "" {
		c := onConflict.FindStringSubmatch(conflict)
		if c == nil {
			return no
		}
		target := list(c[1])
		if len(target) != len(t.key) || slices.ContainsFunc(t.key, func(k string) bool { return !slices.Contains(target, k) || sets(c[2], k) }) {
			return no
		}
	}
	key := make([]int, len(t.key))
	for i, k := range t.key {
		at := slices.Index(columns, k)
		if at < 0 {
			return no
		}
		a := oneArg.FindStringSubmatch(values[at])
		if a == nil {
			return no
		}
		n, err := strconv.Atoi(a[1])
		if err != nil {
			return no
		}
		key[i] = n - 1
	}
	if alias != "" {
		name += " AS " + alias
	}
	return &shape{table: p[1], key: key,
		merged: fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM {rows}%s", name, p[3], rows(p[4]), conflict)}
}

// rows names the arrays' columns where a text has arguments.
func rows(text string) string { return argument.ReplaceAllString(text, "merged_.p$1") }

// list splits at commas outside of parentheses and quotes; nil where parentheses
// do not match.
func list(text string) []string {
	var out []string
	depth, quoted, from := 0, false, 0
	for i, c := range text {
		switch {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			if depth--; depth < 0 {
				return nil
			}
		case c == ',' && depth == 0:
			out = append(out, strings.TrimSpace(text[from:i]))
			from = i + 1
		}
	}
	return append(out, strings.TrimSpace(text[from:]))
}

// sets says whether assignments may change a column.
func sets(assignments, column string) bool {
	return regexp.MustCompile(`(^|[ ,(])` + regexp.QuoteMeta(column) + ` ?=[^=]`).MatchString(strings.TrimPrefix(assignments, "UPDATE SET "))
}

// pins finds the arguments that a condition compares the whole key with.
func pins(condition string, key []string) ([]int, bool) {
	// A part of something bigger than a conjunction pins nothing.
	if beyond.MatchString(condition) || nested.MatchString(condition) || len(key) == 0 {
		return nil, false
	}
	at := make(map[string]int, len(key))
	for _, part := range and.Split(condition, -1) {
		if e := equals.FindStringSubmatch(strings.TrimSpace(part)); e != nil {
			n, err := strconv.Atoi(e[2])
			if err != nil {
				return nil, false
			}
			at[e[1]] = n - 1
		}
	}
	out := make([]int, len(key))
	for i, k := range key {
		n, ok := at[k]
		if !ok {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}

// tablesOf are a schema's tables.
func tablesOf(ctx context.Context, q Reader, schema string) (map[string]table, error) {
	rows, err := q.Query(ctx, `SELECT c.relname,
			(SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
			coalesce((SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
				FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey::int2[]) WHERE i.indrelid = c.oid AND i.indisprimary), '{}'),
			EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND NOT i.indisprimary)
		FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) ORDER BY c.relname COLLATE "C"`, schema)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", schema, err)
	}
	all := map[string]table{}
	var name string
	var t table
	_, err = pgx.ForEachRow(rows, []any{&name, &t.columns, &t.key, &t.unique}, func() error {
		all[name] = table{columns: slices.Clone(t.columns), key: slices.Clone(t.key), unique: t.unique}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", schema, err)
	}
	return all, nil
}

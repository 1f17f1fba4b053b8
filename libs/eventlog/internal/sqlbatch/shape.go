package sqlbatch

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

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
	// A literal, and what these patterns would change or misread in one.
	literal = regexp.MustCompile(`'(?:[^']|'')*'`)
	opaque  = regexp.MustCompile(`[\t\n\r$\\]|  `)
)

// plainLiterals says whether a statement's literals can be passed through these patterns
// as they are, and its dollar signs are those of arguments.
func plainLiterals(sql string) bool {
	rest := literal.ReplaceAllStringFunc(sql, func(text string) string {
		if opaque.MatchString(text) {
			return "'" // as one that does not end
		}
		return ""
	})
	return !strings.Contains(argument.ReplaceAllString(rest, ""), "$") && !strings.Contains(rest, "'")
}

// shape reads a statement once.
func (m *Merger) shape(ctx context.Context, sql string) *shape {
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
func (m *Merger) typed(ctx context.Context, sql string, s *shape) bool {
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
func (m *Merger) read(sql string) *shape {
	no := &shape{}
	text := strings.TrimSpace(spaces.ReplaceAllString(sql, " "))
	if strings.ContainsAny(text, "{}") || !plainLiterals(sql) {
		return no
	}
	if p := insertText.FindStringSubmatch(text); p != nil {
		return m.readInsert(text, p)
	}
	if p := updateText.FindStringSubmatch(text); p != nil {
		t, ok := m.tables[p[1]]
		if !ok || t.unique || beyond.MatchString(p[2]) || slices.ContainsFunc(t.Key, func(k string) bool { return sets(p[2], k) }) {
			return no
		}
		key, ok := pins(p[3], t.Key)
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
		key, ok := pins(p[2], t.Key)
		if !ok {
			return no
		}
		return &shape{table: p[1], key: key, merged: fmt.Sprintf("DELETE FROM %s USING {rows} WHERE %s", p[1], rows(p[2]))}
	}
	return no
}

func (m *Merger) readInsert(text string, p []string) *shape {
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
		if len(target) != len(t.Key) || slices.ContainsFunc(t.Key, func(k string) bool { return !slices.Contains(target, k) || sets(c[2], k) }) {
			return no
		}
	}
	key := make([]int, len(t.Key))
	for i, k := range t.Key {
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

package main

import (
	"fmt"
	"slices"
	"strings"
)

// tables are a fold's, as its DDL says.
type tables struct{ byName map[string]*table }

type table struct {
	name    string
	columns map[string]column
	keys    [][]string // primary and unique
}

type column struct {
	kind string // the first word of its type
	text bool
	c    bool // COLLATE "C"
}

func (c column) float() bool { return c.kind == "double" || c.kind == "real" || c.kind == "float" }

// parseTables reads CREATE TABLE statements and says what in them a rebuild could
// not repeat.
func parseTables(ddl string) (*tables, []string) {
	t := &tables{byName: map[string]*table{}}
	var wrong []string
	for _, s := range split(scan(ddl), ";") {
		switch {
		case len(s) == 0:
		case words(s, "create", "table"):
			wrong = append(wrong, t.create(s[2:])...)
		case words(s, "create", "index"):
		case words(s, "create", "unique", "index"):
			t.unique(s)
		default:
			wrong = append(wrong, fmt.Sprintf("tables: %s …: a fold has tables and indexes, nothing that acts by itself", strings.ToUpper(join(s[:min(2, len(s))]))))
		}
	}
	return t, wrong
}

func (t *tables) create(s []tokenT) (wrong []string) {
	if words(s, "if", "not", "exists") {
		s = s[3:]
	}
	if len(s) < 3 || s[1].text != "(" {
		return []string{"tables: CREATE TABLE " + join(s) + " cannot be read"}
	}
	tb := &table{name: s[0].text, columns: map[string]column{}}
	t.byName[tb.name] = tb
	primary := false
	inside, _ := group(s, 1)
	for _, part := range split(inside, ",") {
		switch {
		case len(part) == 0:
		case words(part, "primary", "key"), words(part, "unique"):
			cols, _ := group(part, slices.IndexFunc(part, func(x tokenT) bool { return x.text == "(" }))
			var key []string
			for _, c := range cols {
				if c.kind == word {
					key = append(key, c.text)
				}
			}
			primary = primary || part[0].text == "primary"
			tb.keys = append(tb.keys, key)
		case words(part, "constraint"), words(part, "check"), words(part, "foreign"), words(part, "exclude"):
		default:
			name := part[0].text
			c, pk, bad := readColumn(part[1:])
			tb.columns[name] = c
			for _, b := range bad {
				wrong = append(wrong, fmt.Sprintf("tables: %s.%s: %s", tb.name, name, b))
			}
			if pk {
				primary = true
				tb.keys = append(tb.keys, []string{name})
			}
		}
	}
	if !primary {
		wrong = append(wrong, fmt.Sprintf("tables: %s has no primary key: its dump would have no order", tb.name))
	}
	for _, key := range tb.keys {
		for _, k := range key {
			if c := tb.columns[k]; c.text && !c.c {
				wrong = append(wrong, fmt.Sprintf(`tables: %s.%s is a key without COLLATE "C": its order would be the server's`, tb.name, k))
			}
		}
	}
	return wrong
}

func readColumn(s []tokenT) (c column, primary bool, wrong []string) {
	if len(s) == 0 {
		return c, false, []string{"has no type"}
	}
	c.kind = s[0].text
	c.text = c.kind == "text" || c.kind == "varchar" || c.kind == "char" || c.kind == "citext"
	for i, w := range s {
		switch w.text {
		case "serial", "bigserial", "smallserial", "identity", "serial4", "serial8":
			wrong = append(wrong, w.text+": a column that numbers itself gives another number in a rebuild; take it from the event")
		case "generated":
			if !slices.ContainsFunc(s, func(x tokenT) bool { return x.text == "identity" }) {
				wrong = append(wrong, "generated: what a fold keeps comes from the event")
			}
		case "collate":
			c.c = i+1 < len(s) && s[i+1].text == "C"
		case "primary":
			primary = true
		case "default":
			for k, x := range s[i+1:] {
				if why := volatile(s[i+1:], k); why != "" {
					wrong = append(wrong, "default "+x.text+": "+why)
				}
			}
		}
	}
	return c, primary, wrong
}

// unique notes CREATE UNIQUE INDEX name ON table (columns).
func (t *tables) unique(s []tokenT) {
	on := slices.IndexFunc(s, func(x tokenT) bool { return x.text == "on" })
	if on < 0 || on+2 >= len(s) || slices.ContainsFunc(s, func(x tokenT) bool { return x.text == "where" }) {
		return
	}
	tb, open := t.byName[s[on+1].text], on+2
	if tb == nil || s[open].text != "(" {
		return
	}
	cols, _ := group(s, open)
	var key []string
	for _, c := range cols {
		if c.kind == word {
			key = append(key, c.text)
		}
	}
	tb.keys = append(tb.keys, key)
}

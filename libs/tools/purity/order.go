package main

import (
	"fmt"
	"slices"
	"strings"
)

// clauses end a list of tables.
var clauses = []string{"where", "group", "having", "order", "limit", "offset", "for", "union", "intersect", "except", "on", "using", "set", "values",
	"join", "left", "right", "inner", "full", "cross", "returning", "window", "fetch"}

// order says why the rows of a SELECT have no order of their own: there may be
// several, and ORDER BY does not tell every two of them apart. "" where it does.
//
// A row is told apart where, for each table, a key is fixed: by comparison with a
// value, by comparison with a fixed column, or by ORDER BY.
func (t *tables) order(s []tokenT, nested bool) string {
	for _, set := range []string{"union", "intersect", "except"} {
		if len(split(s, set)) > 1 {
			return strings.ToUpper(set) + ": the order of its rows cannot be judged; use two queries"
		}
	}
	list, from := clause(s, "select"), clause(s, "from")
	if from == nil {
		return ""
	}
	distinct := words(list, "distinct")
	grouped := clause(s, "group")
	if grouped == nil && !distinct && slices.ContainsFunc(split(list, ","), aggregate) {
		return "" // one row
	}
	b := t.bind(from, clause(s, "where"))
	if b.unknown != "" {
		return b.unknown
	}
	if grouped == nil && b.settled() {
		return "" // at most one row
	}
	by := clause(s, "order")
	if by == nil {
		if nested {
			return "takes some of several rows without ORDER BY"
		}
		return "may give several rows, and has no ORDER BY: their order is the plan's"
	}
	var uncollated string
	for _, item := range split(by, ",") {
		item = direction(item)
		if len(item) > 0 && item[0].text == "by" {
			item = item[1:]
		}
		table, name, ok := b.column(item)
		if !ok {
			continue
		}
		if c := b.tables[table].columns[name]; c.text && !c.c {
			uncollated = name
		}
		b.fixed[table+"."+name] = true
	}
	if uncollated != "" {
		return fmt.Sprintf(`is ordered by %s, which is not COLLATE "C": the order would be the server's`, uncollated)
	}
	if grouped != nil {
		b.spread()
		for _, item := range split(grouped, ",") {
			if len(item) > 0 && item[0].text == "by" {
				item = item[1:]
			}
			if table, name, ok := b.column(item); !ok || !b.fixed[table+"."+name] {
				return "its ORDER BY does not name everything that it groups by"
			}
		}
		return ""
	}
	if distinct {
		b.spread()
		for _, item := range split(list[1:], ",") {
			if table, name, ok := b.column(item); !ok || !b.fixed[table+"."+name] {
				return "is DISTINCT, and its ORDER BY does not name every column"
			}
		}
		return ""
	}
	if !b.settled() {
		return "its ORDER BY does not end in a key: rows that are equal in it come in the plan's order"
	}
	return ""
}

func direction(item []tokenT) []tokenT {
	for len(item) > 0 && slices.Contains([]string{"asc", "desc", "first", "last", "nulls"}, item[len(item)-1].text) {
		item = item[:len(item)-1]
	}
	if n := len(item); n > 2 && item[n-2].text == "collate" {
		item = item[:n-2]
	}
	return item
}

func aggregate(item []tokenT) bool {
	for i, x := range item {
		if x.text == "select" || x.text == "over" {
			return false
		}
		if x.kind == word && slices.Contains(aggregates, x.text) && i+1 < len(item) && item[i+1].text == "(" {
			_, end := group(item, i+1)
			return end+1 >= len(item) || item[end+1].text != "over"
		}
	}
	return false
}

// clause is what follows a clause's word, up to the next clause; nil without it.
func clause(s []tokenT, name string) []tokenT {
	depth, from := 0, -1
	for i, x := range s {
		switch {
		case x.kind == literal:
		case x.text == "(":
			depth++
		case x.text == ")":
			depth--
		case depth > 0 || x.kind != word:
		case from >= 0 && slices.Contains([]string{"from", "where", "group", "having", "order", "limit", "offset", "for", "fetch", "window"}, x.text):
			if x.text == "from" && i > 0 && s[i-1].text == "distinct" {
				continue
			}
			return s[from:i]
		case from < 0 && x.text == name:
			from = i + 1
		}
	}
	if from < 0 {
		return nil
	}
	return s[from:]
}

// binding is what FROM and WHERE fix of each table's columns.
type binding struct {
	tables  map[string]*table // by alias
	aliases []string
	fixed   map[string]bool // alias.column
	equal   [][2]string
	free    []string // sources that give at most one row of their own
	unknown string
}

// bind reads the tables of FROM, with what ON, USING and WHERE compare.
func (t *tables) bind(from, where []tokenT) *binding {
	b := &binding{tables: map[string]*table{}, fixed: map[string]bool{}}
	var conditions [][]tokenT
	for i := 0; i < len(from); {
		x := from[i]
		switch {
		case x.text == "," || slices.Contains([]string{"join", "left", "right", "inner", "full", "outer", "cross", "lateral", "only"}, x.text):
			i++
		case x.text == "on":
			end := i + 1
			for depth := 0; end < len(from); end++ {
				if from[end].text == "(" {
					depth++
				} else if from[end].text == ")" {
					depth--
				} else if depth == 0 && slices.Contains([]string{"join", "left", "right", "inner", "full", "cross", ","}, from[end].text) {
					break
				}
			}
			conditions = append(conditions, from[i+1:end])
			i = end
		case x.text == "using":
			cols, end := group(from, i+1)
			last := b.aliases[len(b.aliases)-1]
			for _, c := range cols {
				for _, a := range b.aliases[:len(b.aliases)-1] {
					if _, ok := b.tables[a].columns[c.text]; ok && c.kind == word {
						b.equal = append(b.equal, [2]string{a + "." + c.text, last + "." + c.text})
					}
				}
			}
			i = end + 1
		case x.text == "(":
			inner, end := group(from, i)
			i = end + 1
			alias := ""
			for i < len(from) && from[i].kind == word && !slices.Contains(clauses, from[i].text) {
				alias = from[i].text
				i++
			}
			limit := clause(inner, "limit")
			if len(limit) == 1 && limit[0].text == "1" || t.order(inner, true) == "" && clause(inner, "order") == nil {
				b.free = append(b.free, alias)
				continue
			}
			b.unknown = "takes rows of a query in parentheses, whose order cannot be judged"
		case x.kind == word && t.byName[x.text] != nil:
			tb, alias := t.byName[x.text], x.text
			i++
			for i < len(from) && from[i].kind == word && !slices.Contains(clauses, from[i].text) {
				alias = from[i].text
				i++
			}
			b.tables[alias] = tb
			b.aliases = append(b.aliases, alias)
		case x.kind == word:
			b.unknown = "takes rows of " + x.text + ", whose order cannot be judged"
			return b
		default:
			i++
		}
	}
	if len(split(where, "or")) == 1 {
		conditions = append(conditions, where)
	}
	for _, c := range conditions {
		if len(split(c, "or")) > 1 {
			continue
		}
		for _, part := range split(c, "and") {
			b.compare(part)
		}
	}
	return b
}

// compare notes column = value and column = column.
func (b *binding) compare(part []tokenT) {
	for len(part) > 1 && part[0].text == "(" && part[len(part)-1].text == ")" {
		part = part[1 : len(part)-1]
	}
	sides := split(part, "=")
	if len(sides) != 2 {
		return
	}
	lt, lc, left := b.column(sides[0])
	rt, rc, right := b.column(sides[1])
	switch {
	case left && right:
		b.equal = append(b.equal, [2]string{lt + "." + lc, rt + "." + rc})
	case left && b.value(sides[1]):
		b.fixed[lt+"."+lc] = true
	case right && b.value(sides[0]):
		b.fixed[rt+"."+rc] = true
	}
}

// value says whether an expression is the same for all rows.
func (b *binding) value(s []tokenT) bool {
	if len(s) == 3 && s[0].kind == word && s[1].text == "." && b.tables[s[0].text] == nil {
		return true // a column of the query around this one
	}
	for i, x := range s {
		if x.kind == word && (i == 0 || s[i-1].text != "::") && x.text != "coalesce" {
			return x.text == "true" || x.text == "false"
		}
	}
	return len(s) > 0
}

// column is the column that an expression is, if it is one.
func (b *binding) column(s []tokenT) (table, name string, ok bool) {
	if len(s) > 2 && s[len(s)-2].text == "::" {
		s = s[:len(s)-2]
	}
	switch {
	case len(s) == 1 && s[0].kind == word:
		for _, a := range b.aliases {
			if _, ok := b.tables[a].columns[s[0].text]; ok {
				return a, s[0].text, true
			}
		}
	case len(s) == 3 && s[1].text == "." && b.tables[s[0].text] != nil:
		return s[0].text, s[2].text, true
	}
	return "", "", false
}

// spread follows keys and comparisons from what is fixed.
func (b *binding) spread() {
	for changed := true; changed; {
		changed = false
		set := func(name string) {
			if !b.fixed[name] {
				b.fixed[name], changed = true, true
			}
		}
		for _, e := range b.equal {
			if b.fixed[e[0]] || b.fixed[e[1]] {
				set(e[0])
				set(e[1])
			}
		}
		for _, a := range b.aliases {
			if b.keyed(a) {
				for c := range b.tables[a].columns {
					set(a + "." + c)
				}
			}
		}
	}
}

func (b *binding) keyed(alias string) bool {
	for _, key := range b.tables[alias].keys {
		all := len(key) > 0
		for _, k := range key {
			all = all && b.fixed[alias+"."+k]
		}
		if all {
			return true
		}
	}
	return false
}

// settled says whether every table's row is fixed.
func (b *binding) settled() bool {
	b.spread()
	for _, a := range b.aliases {
		if !b.keyed(a) {
			return false
		}
	}
	return true
}

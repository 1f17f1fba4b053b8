package main

import (
	"fmt"
	"slices"
	"strings"
)

// Functions and words whose value a rebuild would not get again.
var (
	volatileCalls = []string{"now", "random", "gen_random_uuid", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday",
		"nextval", "currval", "setval", "lastval", "current_setting", "set_config", "txid_current", "version", "uuid_generate_v1", "uuid_generate_v4",
		"uuidv4", "uuidv7", "random_normal", "setseed", "age", "inet_client_addr", "pg_backend_pid", "pg_sleep", "pg_notify"}
	volatileWords = []string{"current_timestamp", "current_date", "current_time", "localtime", "localtimestamp", "current_user", "session_user",
		"current_schema", "tablesample", "ctid", "xmin", "xmax", "tableoid"}
	floatCalls = []string{"sum", "avg", "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp", "corr", "regr_slope", "exp", "ln",
		"power", "sqrt"}
	orderedCalls = []string{"array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "xmlagg"}
	aggregates   = append([]string{"count", "max", "min", "bool_and", "bool_or", "every", "bit_and", "bit_or"},
		append(slices.Clone(floatCalls[:8]), orderedCalls...)...)
	writes = []string{"insert", "update", "delete", "merge"}
)

// volatile says why the word at i may not stand in a fold's SQL.
func volatile(s []tokenT, i int) string {
	x := s[i]
	if x.kind != word {
		return ""
	}
	if i+1 < len(s) && s[i+1].text == "(" && slices.Contains(volatileCalls, x.text) {
		return x.text + "() gives another value in a rebuild; take it from the event"
	}
	if slices.Contains(volatileWords, x.text) {
		return x.text + " gives another value in a rebuild; take it from the event"
	}
	return ""
}

// checkSQL says what is wrong with a statement of a fold.
func checkSQL(sql string, t *tables, deciding bool) []string {
	s := scan(sql)
	if len(s) == 0 {
		return nil
	}
	var wrong []string
	say := func(format string, a ...any) { wrong = append(wrong, "SQL: "+fmt.Sprintf(format, a...)) }
	switch first := s[0].text; {
	case slices.Contains([]string{"select", "with", "insert", "update", "delete"}, first):
	default:
		say("%s …: a fold reads and writes rows, nothing else", strings.ToUpper(first))
		return wrong
	}
	for i, x := range s {
		if why := volatile(s, i); why != "" {
			say("%s", why)
		}
		call := i+1 < len(s) && s[i+1].text == "(" && x.kind == word
		if deciding && x.kind == word && slices.Contains(writes, x.text) && (i == 0 || s[i-1].text == "(") {
			say("%s: decide only reads", strings.ToUpper(x.text))
		}
		if call && slices.Contains(floatCalls, x.text) {
			args, _ := group(s, i+1)
			for _, a := range args {
				if t.float(a) {
					say("%s over the float column %s depends on the order of rows; statistics are computed in effects", x.text, a.text)
				}
			}
		}
		if call && slices.Contains(orderedCalls, x.text) {
			args, _ := group(s, i+1)
			if len(split(args, "order")) == 1 {
				say("%s without ORDER BY inside: its order is the plan's", x.text)
			}
		}
		if x.kind == sign && slices.Contains([]string{"+", "-", "/", "*"}, x.text) && i > 0 && i+1 < len(s) && (t.float(s[i-1]) || t.float(s[i+1])) &&
			s[i-1].text != "(" && s[i-1].text != "select" {
			say("arithmetic on a float column (%s %s %s); statistics are computed in effects", s[i-1].text, x.text, s[i+1].text)
		}
	}
	wrong = append(wrong, t.sources(s)...)
	main := s
	named := map[string]bool{}
	if words(s, "with") {
		for i := 0; i+2 < len(s); i++ {
			if s[i].kind == word && s[i+1].text == "as" && s[i+2].text == "(" {
				_, end := group(s, i+2)
				named[s[i].text] = true
				if end+1 < len(s) && s[end+1].text != "," {
					main = s[end+1:]
					break
				}
				i = end
			}
		}
	}
	if words(main, "select") {
		if why := t.order(main, false); why != "" {
			say("%s", why)
		}
	}
	// Within parentheses the order matters where only some rows are taken, or all into an array.
	for i, x := range s {
		if x.text == "(" && i+1 < len(s) && s[i+1].text == "select" {
			inner, _ := group(s, i)
			array := i > 0 && s[i-1].text == "array"
			if array || clause(inner, "limit") != nil || words(inner, "select", "distinct", "on") {
				if why := t.order(inner, true); why != "" {
					say("within parentheses: %s", why)
				}
			}
		}
	}
	return wrong
}

// float says whether a word names a column that holds floats in some table.
func (t *tables) float(x tokenT) bool {
	if x.kind != word {
		return false
	}
	for _, tb := range t.byName {
		if c, ok := tb.columns[x.text]; ok && c.float() {
			return true
		}
	}
	return false
}

// sources judges which tables a statement names.
func (t *tables) sources(s []tokenT) (wrong []string) {
	own := map[string]bool{}
	for i := 0; i+2 < len(s); i++ {
		if s[i].kind == word && s[i+1].text == "as" && s[i+2].text == "(" && s[0].text == "with" {
			own[s[i].text] = true
		}
	}
	var calls []string // what each open parenthesis belongs to
	for i := 0; i < len(s); i++ {
		x := s[i]
		switch x.text {
		case "(":
			name := ""
			if i > 0 && s[i-1].kind == word {
				name = s[i-1].text
			}
			calls = append(calls, name)
			continue
		case ")":
			if len(calls) > 0 {
				calls = calls[:len(calls)-1]
			}
			continue
		}
		if x.kind != word || !slices.Contains([]string{"from", "join", "into", "update"}, x.text) {
			continue
		}
		if len(calls) > 0 && slices.Contains([]string{"extract", "substring", "trim", "overlay"}, calls[len(calls)-1]) {
			continue
		}
		if i > 0 && (s[i-1].text == "distinct" && x.text == "from" || x.text == "update" && (s[i-1].text == "do" || s[i-1].text == "for")) {
			continue
		}
		for next := i + 1; next < len(s); {
			for next < len(s) && (s[next].text == "only" || s[next].text == "lateral") {
				next++
			}
			if next >= len(s) || s[next].kind != word || s[next].text == "select" {
				break
			}
			name := s[next].text
			switch {
			case next+1 < len(s) && s[next+1].text == ".":
				wrong = append(wrong, fmt.Sprintf("SQL: %s.%s: a fold sees the tables of its own schema only, and names them without it", name, s[next+2].text))
			case next+1 < len(s) && s[next+1].text == "(" && x.text != "into":
			case own[name]:
			case t.byName[name] == nil:
				wrong = append(wrong, fmt.Sprintf("SQL: %s is none of the fold's tables", name))
			}
			// FROM a, b
			for next++; next < len(s) && (s[next].kind == word && !slices.Contains(clauses, s[next].text)); next++ {
			}
			if x.text != "from" || next >= len(s) || s[next].text != "," {
				break
			}
			next++
		}
	}
	return wrong
}

// Package domain says what a feature view means: which rows an instant may see
// and how they become one number. It is pure; it knows neither SQL engines nor
// events.
package domain

import (
	"errors"
	"fmt"
	"strings"
)

// An Aggregate makes one number of the values in a window.
type Aggregate uint8

// The aggregates.
const (
	Count Aggregate = iota + 1
	Sum
	Average
	Minimum
	Maximum
	Deviation // of a sample
)

var aggregates = map[string]Aggregate{
	"count": Count, "sum": Sum, "avg": Average, "mean": Average, "min": Minimum, "max": Maximum,
	"stddev": Deviation, "stddev_samp": Deviation,
}

// A Feature of a windowed view: agg(expr) over the rows of its dataset.
type Feature struct {
	Name      string
	Aggregate Aggregate
	Expr      string   // over one row; empty for count(*)
	Mentions  []string // every identifier of Expr, in lower case
}

// A SyntaxError is a feature that is not agg(expr).
type SyntaxError struct{ Feature, SQL, Reason string }

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("feature %s: %q %s; a windowed feature is avg, sum, count, min, max or stddev of one expression over the dataset's row, "+
		"such as avg((delay > 15)::int), or count(*)", e.Feature, e.SQL, e.Reason)
}

// ParseFeature reads agg(expr).
func ParseFeature(name, sql string) (Feature, error) {
	bad := func(format string, args ...any) (Feature, error) {
		return Feature{}, &SyntaxError{Feature: name, SQL: sql, Reason: fmt.Sprintf(format, args...)}
	}
	tokens, err := scan(sql)
	if err != nil {
		return bad("%s", err)
	}
	if len(tokens) < 4 || tokens[0].kind != word || tokens[1].kind != symbol || tokens[1].text != "(" {
		return bad("does not begin with an aggregate")
	}
	agg, ok := aggregates[strings.ToLower(tokens[0].text)]
	if !ok {
		return bad("begins with %s, which is not supported", tokens[0].text)
	}
	ends, commas, ok := brackets(tokens)
	switch {
	case !ok:
		return bad("has unbalanced brackets")
	case ends != len(tokens)-1:
		return bad("goes on after its aggregate")
	case commas > 0:
		return bad("has more than one argument")
	}
	inner := tokens[2 : len(tokens)-1]
	f := Feature{Name: name, Aggregate: agg, Expr: strings.TrimSpace(sql[inner[0].at:tokens[len(tokens)-1].at])}
	if f.Expr == "*" {
		if agg != Count {
			return bad("aggregates *, which only count does")
		}
		f.Expr = ""
		return f, nil
	}
	if t := strings.ToLower(inner[0].text); inner[0].kind == word && t == "distinct" {
		return bad("uses DISTINCT, which is not supported")
	}
	if f.Mentions, err = mentions(inner); err != nil {
		return bad("%s", err)
	}
	return f, nil
}

// Mentions lists the identifiers of one expression over a row, in lower case. It
// refuses what is not such an expression. It may name too many (a function called
// like a column), never too few.
func Mentions(sql string) ([]string, error) {
	tokens, err := scan(sql)
	if err != nil {
		return nil, fmt.Errorf("%q %w", sql, err)
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("%q is empty", sql)
	}
	wrapped := append(append([]token{{kind: symbol, text: "("}}, tokens...), token{kind: symbol, text: ")"})
	if ends, commas, ok := brackets(wrapped); !ok || ends != len(wrapped)-1 {
		return nil, fmt.Errorf("%q has unbalanced brackets", sql)
	} else if commas > 0 {
		return nil, fmt.Errorf("%q is more than one expression", sql)
	}
	m, err := mentions(tokens)
	if err != nil {
		return nil, fmt.Errorf("%q %w", sql, err)
	}
	return m, nil
}

// brackets matches brackets. Ends is where the first one that opens is closed,
// commas how many stand directly within it.
func brackets(tokens []token) (ends, commas int, ok bool) {
	pairs := map[string]string{")": "(", "]": "[", "}": "{"}
	var open []string
	ends = -1
	for i, t := range tokens {
		if t.kind != symbol {
			continue
		}
		switch t.text {
		case "(", "[", "{":
			open = append(open, t.text)
		case ")", "]", "}":
			if len(open) == 0 || open[len(open)-1] != pairs[t.text] {
				return 0, 0, false
			}
			if open = open[:len(open)-1]; len(open) == 0 && ends < 0 {
				ends = i
			}
		case ",":
			if len(open) == 1 && ends < 0 {
				commas++
			}
		}
	}
	return ends, commas, len(open) == 0
}

// What would reach past the row: other tables, all columns, the moment of
// evaluation, chance. A feature with one of them could see what was not known, or
// differ between training and serving.
var (
	beyondWords = map[string]bool{
		"select": true, "over": true, "filter": true, "with": true, "union": true, "current_date": true,
		"current_timestamp": true, "current_time": true, "localtime": true, "localtimestamp": true, "as": true,
		"order": true, "limit": true,
	}
	beyondCalls = map[string]bool{
		"columns": true, "now": true, "today": true, "age": true, "get_current_time": true, "get_current_timestamp": true,
		"transaction_timestamp": true, "random": true, "setseed": true, "uuid": true, "gen_random_uuid": true, "uuidv4": true,
		"uuidv7": true, "nextval": true, "currval": true, "getenv": true, "getvariable": true, "current_setting": true,
	}
)

func mentions(tokens []token) ([]string, error) {
	seen := map[string]bool{}
	var out []string
	for i, t := range tokens {
		if t.kind != word && t.kind != quoted {
			if t.text == ";" {
				return nil, errors.New("contains a semicolon")
			}
			continue
		}
		name := strings.ToLower(t.text)
		call := i+1 < len(tokens) && tokens[i+1].text == "("
		bare := t.kind == word && beyondWords[name] && (name != "as" || i < 2) // cast(x AS type)
		from := t.kind == word && name == "from" && (i == 0 || tokens[i-1].text == "(")
		if bare || from || call && beyondCalls[name] {
			return nil, fmt.Errorf("uses %s, which reaches beyond the row or differs from call to call", t.text)
		}
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out, nil
}

// IsCount reports whether a feature counts values instead of computing with them.
func (f Feature) IsCount() bool { return f.Aggregate == Count }

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"
	"strings"
	"text/tabwriter"
	"time"
)

// item is one object of an answer. Numbers stay as they were written.
type item map[string]any

// list is what every list route answers.
type list struct {
	Items []item `json:"items"`
}

// UnmarshalJSON keeps numbers exact.
func (l *list) UnmarshalJSON(b []byte) error {
	var raw struct {
		Items []item `json:"items"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return err
	}
	l.Items = raw.Items
	return nil
}

// column is one column of a table.
type column struct {
	title string
	cell  func(item) string
}

// col shows a value by its path, such as metrics.candidate.auc.
func col(title, path string) column {
	return column{title, func(i item) string { return text(at(i, path)) }}
}

func at(i item, path string) any {
	var v any = map[string]any(i)
	for key := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// text is a value for people: short times, no more digits than matter.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return t.UTC().Format("2006-01-02 15:04:05")
		}
		return clean(v)
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			return number(f)
		}
		return v.String()
	case float64:
		return number(v)
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = text(e)
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		parts := make([]string, len(keys))
		for i, k := range keys {
			parts[i] = k + "=" + text(v[k])
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(v)
}

func number(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.4g", f)
}

// clean keeps control characters of the suite's data away from a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

// short is a type without what all types share, or an id's first part.
func short(path string) func(item) string {
	return func(i item) string {
		s := text(at(i, path))
		if rest, ok := strings.CutPrefix(s, "io.freshet."); ok {
			return strings.Replace(rest, ".v1.", " ", 1)
		}
		if rest, ok := strings.CutPrefix(s, "sha256:"); ok {
			s = rest
		}
		if len(s) > 12 && !strings.ContainsAny(s, " .") {
			return s[:12]
		}
		return s
	}
}

// table writes items as aligned columns; columns that are empty everywhere stay out.
func table(w io.Writer, items []item, columns ...column) error {
	if len(items) == 0 {
		_, err := fmt.Fprintln(w, "nothing yet")
		return err
	}
	var shown []column
	for _, c := range columns {
		for _, i := range items {
			if c.cell(i) != "" {
				shown = append(shown, c)
				break
			}
		}
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(cell func(column) string) {
		cells := make([]string, len(shown))
		for i, c := range shown {
			cells[i] = cell(c)
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	row(func(c column) string { return strings.ToUpper(c.title) })
	for _, i := range items {
		row(func(c column) string { return c.cell(i) })
	}
	return t.Flush()
}

// details writes one object, one line per value.
func details(w io.Writer, raw json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v item
	if err := d.Decode(&v); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	lines(t, "", v)
	return t.Flush()
}

func lines(w io.Writer, indent string, v map[string]any) {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		switch x := v[k].(type) {
		case map[string]any:
			if len(x) == 0 {
				continue
			}
			fmt.Fprintf(w, "%s%s\t\n", indent, k)
			lines(w, indent+"  ", x)
		case []any:
			if len(x) == 0 {
				continue
			}
			if _, nested := x[0].(map[string]any); !nested {
				fmt.Fprintf(w, "%s%s\t%s\n", indent, k, text(x))
				continue
			}
			fmt.Fprintf(w, "%s%s\t\n", indent, k)
			for n, e := range x {
				m, ok := e.(map[string]any)
				if !ok {
					continue
				}
				fmt.Fprintf(w, "%s  [%d]\t\n", indent, n)
				lines(w, indent+"    ", m)
			}
		default:
			fmt.Fprintf(w, "%s%s\t%s\n", indent, k, text(x))
		}
	}
}

// indented writes JSON for programs.
func indented(w io.Writer, raw json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(w)
	return err
}

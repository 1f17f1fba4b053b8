package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// item is one object of an answer. Numbers stay as they were written.
type item map[string]any

// list is what every list route answers.
type list struct {
	Items []item
	raw   []json.RawMessage // the same items, as they came
}

// UnmarshalJSON keeps numbers exact, and every item as it came.
func (l *list) UnmarshalJSON(b []byte) error {
	var answer struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return err
	}
	l.raw, l.Items = answer.Items, make([]item, len(answer.Items))
	for n, raw := range answer.Items {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&l.Items[n]); err != nil {
			return err
		}
	}
	return nil
}

// answer is what a list route answers with these items.
func (l list) answer() any {
	return map[string]any{"items": append([]json.RawMessage{}, l.raw...)}
}

// pick keeps the items that are wanted.
func (l list) pick(wanted func(item) bool) list {
	var out list
	for n, i := range l.Items {
		if wanted(i) {
			out.Items, out.raw = append(out.Items, i), append(out.raw, l.raw[n])
		}
	}
	return out
}

// first keeps the first n items.
func (l list) first(n int) list {
	n = min(n, len(l.Items))
	return list{l.Items[:n], l.raw[:n]}
}

// reversed has the last item first.
func (l list) reversed() list {
	out := list{slices.Clone(l.Items), slices.Clone(l.raw)}
	slices.Reverse(out.Items)
	slices.Reverse(out.raw)
	return out
}

// column is one column of a table.
type column struct {
	title string
	cell  func(item) string
	id    bool // shown as the shortest beginning that names it, whole with -o wide
	state bool // coloured
	wide  bool // only with -o wide
}

// col shows a value by its path, such as metrics.candidate.auc.
func col(title, path string) column {
	return column{title: title, cell: func(i item) string { return text(at(i, path)) }}
}

// calc shows what a function makes of an item.
func calc(title string, cell func(item) string) column { return column{title: title, cell: cell} }

// id shows an id, the first that there is at some paths.
func id(title string, paths ...string) column {
	return column{title: title, cell: firstOf(paths...), id: true}
}

// state shows a value that has a colour.
func state(title, path string) column {
	c := col(title, path)
	c.state = true
	return c
}

// wide are columns of -o wide alone.
func wide(columns ...column) []column {
	for n := range columns {
		columns[n].wide = true
	}
	return columns
}

func firstOf(paths ...string) func(item) string {
	return func(i item) string {
		for _, p := range paths {
			if s := text(at(i, p)); s != "" {
				return s
			}
		}
		return ""
	}
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

const (
	gap        = 2  // spaces between columns
	narrowest  = 12 // a column that does not fit is cut to no less
	shortestID = 8  // characters of an id that a table shows at least
)

// table writes items as aligned columns; columns that are empty everywhere stay out.
// With all, columns of -o wide are there and ids are whole. On a terminal, the widest
// columns are cut until a line fits.
func table(w io.Writer, s screen, all bool, items []item, columns ...column) error {
	if len(items) == 0 {
		_, err := fmt.Fprintln(w, "nothing yet")
		return err
	}
	var shown []column
	var cells [][]string // by column
	for _, c := range columns {
		if c.wide && !all {
			continue
		}
		column, empty := make([]string, len(items)), true
		for n, i := range items {
			column[n] = c.cell(i)
			empty = empty && column[n] == ""
		}
		if empty {
			continue
		}
		if c.id && !all {
			shorten(column)
		}
		shown, cells = append(shown, c), append(cells, column)
	}
	widths := fit(s.width, shown, cells)
	var b strings.Builder
	row := func(cell func(int) string, color func(int) string) {
		line := ""
		for n := range shown {
			value := cut(cell(n), widths[n])
			if n > 0 {
				line += strings.Repeat(" ", gap)
			}
			line += s.paint(color(n), value)
			if n < len(shown)-1 {
				line += strings.Repeat(" ", widths[n]-utf8.RuneCountInString(value))
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	row(func(n int) string { return strings.ToUpper(shown[n].title) }, func(int) string { return bold })
	for i := range items {
		row(func(n int) string { return cells[n][i] }, func(n int) string {
			if !shown[n].state {
				return ""
			}
			return colors[cells[n][i]]
		})
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shorten cuts ids to the shortest beginning that tells them apart.
func shorten(ids []string) {
	n := shortestID
	for longest := len(slices.MaxFunc(ids, func(a, b string) int { return len(a) - len(b) })); n < longest; n++ {
		begins, same := map[string]string{}, false
		for _, id := range ids {
			begin := id[:min(n, len(id))]
			if other, ok := begins[begin]; ok && other != id {
				same = true
			}
			begins[begin] = id
		}
		if !same {
			break
		}
	}
	for i, id := range ids {
		ids[i] = strings.TrimSuffix(id[:min(n, len(id))], "-")
	}
}

// fit are the columns' widths, so that a line is no longer than most (0: as long as it is).
func fit(most int, columns []column, cells [][]string) []int {
	widths, all := make([]int, len(columns)), 0
	for n := range columns {
		widths[n] = utf8.RuneCountInString(columns[n].title)
		for _, c := range cells[n] {
			widths[n] = max(widths[n], utf8.RuneCountInString(c))
		}
		all += widths[n]
	}
	all += gap * max(0, len(columns)-1)
	isTime := make([]bool, len(columns))
	for n := range columns {
		isTime[n] = widths[n] == len(time.DateTime) && slices.ContainsFunc(cells[n], looksLikeTime)
	}
	for _, times := range []bool{false, true} { // a time is cut where nothing else can be
		for most > 0 && all > most {
			widest := -1
			for n, c := range columns {
				if !c.id && (times || !isTime[n]) && widths[n] > narrowest && (widest < 0 || widths[n] > widths[widest]) {
					widest = n
				}
			}
			if widest < 0 {
				break
			}
			widths[widest]--
			all--
		}
	}
	return widths // what is still too long, the terminal wraps
}

func looksLikeTime(s string) bool {
	_, err := time.Parse(time.DateTime, s)
	return err == nil
}

// cut shows that something was left out.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
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
	for _, k := range sortedKeys(v) {
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

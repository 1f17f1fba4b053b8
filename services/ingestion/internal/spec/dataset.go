package spec

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones are checked against the same table on every machine

	"github.com/freshet-io/freshet/events"
	"go.yaml.in/yaml/v4"
)

var types = []string{"string", "int64", "float", "bool", "timestamp"}

func (p *parser) dataset(v value) {
	f, ok := v.mapping("dataset", "owner", "description", "keys", "time", "known_at", "expect", "on_failure")
	if !ok {
		return
	}
	d := events.DatasetSpec{Keys: []string{}, Zone: "UTC", Rows: "quarantine", RejectCommitAbove: 0.05}
	named := false
	if x, ok := f.need("dataset", "add dataset: and its name"); ok {
		if d.Dataset, ok = x.ident(); ok {
			named = p.define("dataset", d.Dataset, x)
		}
	}
	d.Owner, d.Description = p.about(f)
	if x, ok := f.need("keys", "add keys: [id], the columns that identify a row"); ok {
		d.Keys = p.columns(x)
		if n := x.node(); n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
			x.problem("a dataset needs a key", "name the columns that identify a row, such as [id]")
		}
	}
	if x, ok := f.need("time", "add time: {column: date}, the column that says when a row happened"); ok {
		p.timeColumn(x, &d)
	}
	if x, ok := f.get("known_at"); ok {
		entries, _ := x.entries()
		for _, e := range entries {
			if e.key == d.Time || contains(d.Keys, e.key) {
				e.value.r.add(e.line, e.column, e.value.path, fmt.Sprintf("%q is a key or the time of the row, which are known from the start", e.key), "remove it")
				continue
			}
			if sql, ok := p.expression(e.value); ok {
				d.KnownAt = append(d.KnownAt, events.KnownColumn{Column: e.key, SQL: sql})
			}
		}
	}
	if x, ok := f.get("expect"); ok {
		p.expect(x, &d)
	}
	if x, ok := f.get("on_failure"); ok {
		if g, ok := x.mapping("rows", "reject_commit_above"); ok {
			if y, ok := g.get("rows"); ok {
				if s, ok := y.choice("quarantine", "keep"); ok {
					d.Rows = s
				}
			}
			if y, ok := g.get("reject_commit_above"); ok {
				if share, ok := y.percent(); ok {
					d.RejectCommitAbove = share
				}
			}
		}
	}
	if named {
		p.datasets[d.Dataset] = d
		p.out.Datasets = append(p.out.Datasets, d)
	}
}

// about reads owner and description.
func (p *parser) about(f fields) (owner, description string) {
	if x, ok := f.get("owner"); ok {
		owner, _ = x.text()
	}
	if x, ok := f.get("description"); ok {
		description, _ = x.text()
	}
	return owner, description
}

// columns reads a list of column names.
func (p *parser) columns(x value) []string {
	out := []string{}
	items, _ := x.list()
	for _, item := range items {
		s, ok := item.text()
		if !ok {
			continue
		}
		if contains(out, s) {
			item.problem(fmt.Sprintf("%q occurs twice", s), "remove one of the two")
			continue
		}
		out = append(out, s)
	}
	return out
}

func (p *parser) timeColumn(x value, d *events.DatasetSpec) {
	if x.node().Kind == yaml.ScalarNode { // time: date
		d.Time, _ = x.text()
		return
	}
	g, ok := x.mapping("column", "zone")
	if !ok {
		return
	}
	if y, ok := g.need("column", "name the column that says when a row happened"); ok {
		d.Time, _ = y.text()
	}
	if y, ok := g.get("zone"); ok {
		s, ok := y.text()
		if !ok {
			return
		}
		if s != "local" {
			if _, err := time.LoadLocation(s); err != nil || strings.EqualFold(s, "local") {
				fix := `write "local", "UTC" or an IANA name such as Europe/Zurich`
				if near := nearest(s, []string{"local", "UTC", "Europe/Zurich", "Europe/Berlin", "Europe/London", "America/New_York", "America/Chicago",
					"America/Los_Angeles", "Asia/Tokyo"}); near != "" {
					fix = fmt.Sprintf("write %q instead", near)
				}
				y.problem(fmt.Sprintf("there is no time zone %q", s), fix)
				return
			}
		}
		d.Zone = s
	}
}

func (p *parser) expect(x value, d *events.DatasetSpec) {
	f, ok := x.mapping("columns", "freshness", "sql")
	if !ok {
		return
	}
	if y, ok := f.get("columns"); ok {
		entries, _ := y.entries()
		for _, e := range entries {
			if c, ok := p.expectation(e); ok {
				d.Columns = append(d.Columns, c)
			}
		}
	}
	if y, ok := f.get("freshness"); ok {
		if t, ok := y.positive(); ok {
			d.Freshness = &t
		}
	}
	if y, ok := f.get("sql"); ok {
		entries, _ := y.entries()
		for _, e := range entries {
			if !e.keyIdent("a check") {
				continue
			}
			if sql, ok := p.query(e.value); ok {
				d.Checks = append(d.Checks, events.SQLExpression{Name: e.key, SQL: sql})
			}
		}
	}
}

func (p *parser) expectation(e entry) (events.ColumnExpectation, bool) {
	c := events.ColumnExpectation{Column: e.key}
	if e.value.node().Kind == yaml.ScalarNode { // delay: int64
		var ok bool
		c.Type, ok = e.value.choice(types...)
		return c, ok
	}
	f, ok := e.value.mapping("type", "nulls", "range", "values")
	if !ok {
		return c, false
	}
	x, ok := f.need("type", "add type: with one of "+strings.Join(types, ", "))
	if !ok {
		return c, false
	}
	if c.Type, ok = x.choice(types...); !ok {
		return c, false
	}
	if x, ok := f.get("nulls"); ok {
		var share float64
		if x.node().Kind == yaml.ScalarNode && strings.HasSuffix(x.node().Value, "%") {
			share, ok = x.percent()
		} else {
			share, ok = x.float(0, 1)
		}
		if ok {
			c.Nulls = &share
		}
	}
	if x, ok := f.get("range"); ok {
		p.rangeOf(x, &c)
	}
	if x, ok := f.get("values"); ok {
		items, _ := x.list()
		for _, item := range items {
			n := item.node()
			if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
				item.problem(item.name()+" is "+kindOf(n)+", not a value", "write one value; for missing values say nulls:")
				continue
			}
			c.Values = append(c.Values, n.Value)
		}
		if len(items) == 0 && x.node().Kind == yaml.SequenceNode {
			x.problem(x.name()+" allows nothing", "list the values that are allowed, or remove the key")
		}
	}
	return c, true
}

func (p *parser) rangeOf(x value, c *events.ColumnExpectation) {
	if c.Type != "int64" && c.Type != "float" {
		x.problem(fmt.Sprintf("a column of type %s has no range", c.Type), "remove range:, or use values: to list what is allowed")
		return
	}
	items, ok := x.list()
	if !ok {
		return
	}
	if len(items) != 2 {
		x.problem(fmt.Sprintf("a range has two ends, not %d", len(items)), "write [least, greatest], such as [-120, 2000]")
		return
	}
	lo, ok1 := items[0].float(-1e300, 1e300)
	hi, ok2 := items[1].float(-1e300, 1e300)
	if !ok1 || !ok2 {
		return
	}
	if lo > hi {
		x.problem("the range is empty: its first end is above its second", fmt.Sprintf("write [%s, %s]", items[1].node().Value, items[0].node().Value))
		return
	}
	c.Min, c.Max = &lo, &hi
}

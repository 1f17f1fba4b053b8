package spec

import (
	"fmt"
	"strings"

	"github.com/freshet-io/freshet/events"
)

func (p *parser) view(v value) {
	f, ok := v.mapping("view", "owner", "description", "dataset", "entity", "window", "features", "missing", "ttl")
	if !ok {
		return
	}
	w := events.ViewSpec{Features: []events.SQLExpression{}}
	named := false
	if x, ok := f.need("view", "add view: and its name"); ok {
		if w.View, ok = x.ident(); ok {
			named = p.define("view", w.View, x)
		}
	}
	w.Owner, w.Description = p.about(f)
	if x, ok := f.get("dataset"); ok {
		if w.Dataset, ok = x.ident(); ok {
			p.refer("dataset", w.Dataset, x, "datasets")
		}
	}
	if x, ok := f.get("entity"); ok {
		entries, _ := x.entries()
		for _, e := range entries {
			if !e.keyIdent("an entity") {
				continue
			}
			if column, ok := e.value.text(); ok {
				w.Entity = append(w.Entity, events.EntityKey{Key: e.key, Column: column})
			}
		}
	}
	if x, ok := f.get("window"); ok {
		if d, ok := x.positive(); ok {
			w.Window = &d
		}
	}
	if x, ok := f.get("ttl"); ok {
		if d, ok := x.positive(); ok {
			w.Ttl = &d
		}
	}
	// A view aggregates a window of a dataset's rows per entity, or computes from
	// the request alone; half of the first is neither.
	_, hasDataset := f.get("dataset")
	_, hasEntity := f.get("entity")
	_, hasWindow := f.get("window")
	switch {
	case hasDataset && !hasEntity:
		f.need("entity", "add entity: {airport: origin}, the key of the aggregate and its column, or remove dataset: to compute from the request")
	case hasDataset && !hasWindow:
		f.need("window", "add window: 3h, how far back rows count")
	case !hasDataset && (hasEntity || hasWindow):
		f.need("dataset", "add dataset: with the rows to aggregate, or remove entity: and window: to compute from the request")
	}
	if x, ok := f.need("features", `add features: {name: "avg(x)"}`); ok {
		p.features(x, &w)
	}
	if x, ok := f.get("missing"); ok {
		p.missing(x, &w)
	}
	if named {
		p.views[w.View] = w
		p.out.Views = append(p.out.Views, w)
	}
}

func (p *parser) features(x value, w *events.ViewSpec) {
	entries, ok := x.entries()
	if ok && len(entries) == 0 {
		x.problem("the view has no features", `add at least one, such as {late_share: "avg((delay > 15)::int)"}`)
	}
	for _, e := range entries {
		if !e.keyIdent("a feature") {
			continue
		}
		if sql, ok := p.expression(e.value); ok {
			w.Features = append(w.Features, events.SQLExpression{Name: e.key, SQL: sql})
		}
	}
}

func (p *parser) missing(x value, w *events.ViewSpec) {
	entries, _ := x.entries()
	names := make([]string, len(w.Features))
	for i, f := range w.Features {
		names[i] = f.Name
	}
	for _, e := range entries {
		if !contains(names, e.key) {
			fix := "name one of the view's features: " + strings.Join(names, ", ")
			if near := nearest(e.key, names); near != "" {
				fix = fmt.Sprintf("write %q instead", near)
			}
			e.value.r.add(e.line, e.column, e.value.path, fmt.Sprintf("the view has no feature %q", e.key), fix)
			continue
		}
		if number, ok := e.value.float(-1e300, 1e300); ok {
			if w.Missing == nil {
				w.Missing = map[string]float64{}
			}
			w.Missing[e.key] = number
		}
	}
}

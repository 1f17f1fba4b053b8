package serving

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/deployment/internal/features"
)

// A plan is what versions need from the feature server: per group one request.
// Views share a group unless they read one join key from different columns. Every
// feature that any of the versions needs has a slot.
type plan struct {
	groups []group
	slots  map[string]int // by the feature's name
}

type group struct {
	entities map[string]string // join key, or on-demand column → request field
	names    []string          // of entities, in order of first use
	features []features.Feature
	slots    []int      // of features
	needs    [][]string // of features: the names in entities that each is found by
}

func planOf(versions ...*Version) (plan, error) {
	p := plan{slots: map[string]int{}}
	for _, v := range versions {
		byView := map[string]*events.FeatureUse{}
		for i := range v.Uses {
			byView[fmt.Sprintf("%s@%d", v.Uses[i].View, v.Uses[i].Version)] = &v.Uses[i]
		}
		for _, c := range v.Columns {
			f := featureOf(c)
			if _, known := p.slots[f.Name()]; known {
				continue
			}
			use := byView[fmt.Sprintf("%s@%d", c.View, c.Version)]
			if use == nil {
				return plan{}, fmt.Errorf("column %q is of view %s@%d, which version %d does not use", c.Name, c.View, c.Version, v.Number)
			}
			g, names := p.groupFor(use)
			g.needs = append(g.needs, names)
			g.features = append(g.features, f)
			g.slots = append(g.slots, len(p.slots))
			p.slots[f.Name()] = len(p.slots)
		}
	}
	return p, nil
}

func featureOf(c events.FeatureColumn) features.Feature {
	return features.Feature{View: c.View, Version: c.Version, Feature: c.Feature}
}

// needed are the slots that a request does not give itself.
func (p *plan) needed(in *inputs, versions []*Version) []bool {
	need := make([]bool, len(p.slots))
	for _, v := range versions {
		for i, c := range v.Columns {
			if in.direct[c.Name] == nil {
				need[p.slots[v.names[i]]] = true
			}
		}
	}
	return need
}

// wanted are the group's features in needed slots, and their slots.
func (g *group) wanted(need []bool) (list []features.Feature, slots []int) {
	for i, slot := range g.slots {
		if need[slot] {
			list, slots = append(list, g.features[i]), append(slots, slot)
		}
	}
	return list, slots
}

// look asks for what is needed of all rows: one slice of values a slot.
func (p *plan) look(ctx context.Context, namespace string, server Features, in *inputs, versions []*Version) ([][]float64, error) {
	out := make([][]float64, len(p.slots))
	need := p.needed(in, versions)
	errs := make([]error, len(p.groups))
	asks := make([]func(), 0, len(p.groups))
	for i := range p.groups {
		g := &p.groups[i]
		list, slots := g.wanted(need)
		if len(list) == 0 {
			continue
		}
		entities := make([]features.Entity, 0, len(g.names))
		for _, name := range g.names {
			// what is not given is only needed for features that are
			if field := g.entities[name]; in.fields[field] != nil {
				entities = append(entities, features.Entity{Name: name, Values: in.entity(field)})
			}
		}
		asks = append(asks, func() {
			values, err := server.Get(ctx, namespace, entities, list, in.rows)
			if err != nil {
				errs[i] = err
				return
			}
			for j, slot := range slots {
				out[slot] = values[j]
			}
		})
	}
	if len(asks) == 1 {
		asks[0]()
		return out, errors.Join(errs...)
	}
	var wg sync.WaitGroup
	for _, ask := range asks {
		wg.Go(ask)
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// groupFor finds or adds the group that a view's entities fit in, and names them.
func (p *plan) groupFor(use *events.FeatureUse) (*group, []string) {
	wants := map[string]string{}
	var names []string
	want := func(name, field string) {
		if _, ok := wants[name]; !ok {
			names = append(names, name)
		}
		wants[name] = field
	}
	for _, e := range use.Entity {
		want(e.Key, e.Column)
	}
	for _, column := range use.Request {
		if _, isKey := wants[column]; !isKey {
			want(column, column)
		}
	}
	at := -1
	for i := range p.groups {
		if fits(p.groups[i].entities, wants) {
			at = i
			break
		}
	}
	if at < 0 {
		p.groups = append(p.groups, group{entities: map[string]string{}})
		at = len(p.groups) - 1
	}
	g := &p.groups[at]
	for _, n := range names {
		if _, ok := g.entities[n]; !ok {
			g.names = append(g.names, n)
			g.entities[n] = wants[n]
		}
	}
	return g, names
}

func fits(have, wants map[string]string) bool {
	for name, field := range wants {
		if other, ok := have[name]; ok && other != field {
			return false
		}
	}
	return true
}

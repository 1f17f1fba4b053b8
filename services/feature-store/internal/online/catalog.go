// Package online keeps what serving needs in memory: the catalogue of views,
// datasets and models, and for every windowed view the rows that an instant can
// still see. It follows the fold and the topic of pushed rows; a restart reads
// both again, as far back as any window reaches.
package online

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/state"
)

// A Catalog is what is declared, at one moment. It does not change.
type Catalog struct {
	revision int64
	spaces   map[string]*space
}

type space struct {
	datasets map[string]*events.DatasetSpec
	views    map[string][]*compute.View // by version; those that can be computed
	models   map[string]*events.ModelSpec
}

var nothing = &space{}

func (c *Catalog) space(namespace string) *space {
	if s, ok := c.spaces[namespace]; ok {
		return s
	}
	return nothing
}

// Dataset returns a dataset's specification, or nil.
func (c *Catalog) Dataset(namespace, name string) *events.DatasetSpec {
	return c.space(namespace).datasets[name]
}

// Model returns a model's specification, or nil.
func (c *Catalog) Model(namespace, name string) *events.ModelSpec {
	return c.space(namespace).models[name]
}

// View returns a version of a view, the newest for 0; nil where there is none.
// Known says whether the view exists in any version.
func (c *Catalog) View(namespace, name string, version int64) (v *compute.View, known bool) {
	versions := c.space(namespace).views[name]
	if len(versions) == 0 {
		return nil, false
	}
	if version == 0 {
		return versions[len(versions)-1], true
	}
	for _, v := range versions {
		if v.Version == version {
			return v, true
		}
	}
	return nil, true
}

// FieldType is the type that a request column of a view has: as the first model,
// by name, that uses the view declares it.
func (c *Catalog) FieldType(namespace string, v *compute.View, column string) (string, bool) {
	s := c.space(namespace)
	names := make([]string, 0, len(s.models))
	for name := range s.models {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		m := s.models[name]
		uses := slices.ContainsFunc(m.Features, func(u events.ViewUse) bool { return u.View == v.Name })
		if !uses {
			continue
		}
		for _, f := range m.Request {
			if f.Name == column {
				return f.Type, true
			}
		}
	}
	return "", false
}

// onDataset returns the windowed views of a dataset.
func (c *Catalog) onDataset(namespace, dataset string) []*compute.View {
	var out []*compute.View
	for _, versions := range c.space(namespace).views {
		for _, v := range versions {
			if v.Plan != nil && v.Spec.Dataset == dataset {
				out = append(out, v)
			}
		}
	}
	slices.SortFunc(out, func(a, b *compute.View) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return int(a.Version - b.Version)
	})
	return out
}

// loadCatalog reads the fold. Views that were compiled before are kept.
func loadCatalog(ctx context.Context, r eventlog.Reader, revision int64, before *Catalog, logger *slog.Logger) (*Catalog, error) {
	c := &Catalog{revision: revision, spaces: map[string]*space{}}
	at := func(namespace string) *space {
		s, ok := c.spaces[namespace]
		if !ok {
			s = &space{datasets: map[string]*events.DatasetSpec{}, views: map[string][]*compute.View{}, models: map[string]*events.ModelSpec{}}
			c.spaces[namespace] = s
		}
		return s
	}
	datasets, err := state.Datasets(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, d := range datasets {
		at(d.Namespace).datasets[d.Spec.Dataset] = &d.Spec
	}
	models, err := state.Models(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		at(m.Namespace).models[m.Spec.Model] = &m.Spec
	}
	views, err := state.Views(ctx, r, "")
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if v.Error != "" {
			continue
		}
		compiled, _ := before.View(v.Namespace, v.Name, v.Version)
		if compiled == nil || compiled.Digest != v.Digest {
			if compiled, err = compute.Compile(v.Spec, v.Version, v.Digest); err != nil {
				logger.Error("a declared view cannot be computed", "view", v.Name, "version", v.Version, "error", err)
				continue
			}
		}
		s := at(v.Namespace)
		s.views[v.Name] = append(s.views[v.Name], compiled)
	}
	return c, nil
}

package compute

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/domain"
)

// Group arranges the rows of a view by entity, ordered by time and key. Of rows
// with the same key the one of the later table counts: a later commit corrects an
// earlier one. The map's key is the entity's columns joined by KeySeparator.
func Group(v *View, tables ...*parquet.Table) (map[string]*domain.Rows, error) {
	total := 0
	for _, t := range tables {
		total += t.Rows
	}
	var (
		n      = len(v.Plan.Features)
		keys   = make([]string, 0, total)
		times  = make([]int64, 0, total)
		entity = make([]int32, 0, total)
		known  = make([][]int64, n)
		values = make([][]float64, n)
		ids    = map[string]int32{}
		names  []string
	)
	for _, t := range tables {
		c, err := open(v, t)
		if err != nil {
			return nil, err
		}
		for f := range n {
			if c.known[f] != nil && known[f] == nil {
				known[f] = append(make([]int64, 0, total), times...)
			}
			if known[f] != nil && c.known[f] == nil {
				known[f] = append(known[f], c.time...)
			} else {
				known[f] = append(known[f], c.known[f]...)
			}
			values[f] = append(values[f], c.values[f]...)
		}
		keys, times = append(keys, c.key...), append(times, c.time...)
		for row := range t.Rows {
			name := c.entity(row)
			id, ok := ids[name]
			if !ok {
				id = int32(len(names))
				ids[name] = id
				names = append(names, name)
			}
			entity = append(entity, id)
		}
	}
	live := Latest(keys)
	groups := make([][]int32, len(names))
	for row, id := range entity {
		if live == nil || live[row] {
			groups[id] = append(groups[id], int32(row))
		}
	}
	out := make(map[string]*domain.Rows, len(names))
	for id, rows := range groups {
		if len(rows) == 0 {
			continue
		}
		slices.SortFunc(rows, func(a, b int32) int {
			if c := cmp.Compare(times[a], times[b]); c != 0 {
				return c
			}
			return strings.Compare(keys[a], keys[b])
		})
		r := &domain.Rows{Keys: pick(keys, rows), Time: pick(times, rows), Known: make([][]int64, n), Values: make([][]float64, n)}
		for f := range n {
			if known[f] != nil {
				r.Known[f] = pick(known[f], rows)
			}
			r.Values[f] = pick(values[f], rows)
		}
		out[names[id]] = r
	}
	return out, nil
}

// Latest marks the last row of each key; nil where no key occurs twice.
func Latest(keys []string) []bool {
	size := 1
	for size < 2*len(keys) {
		size *= 2
	}
	var (
		table = make([]int32, size) // row + 1 of the last one seen with a key
		seed  = maphash.MakeSeed()
		live  []bool
	)
	for i, k := range keys {
		at := int(maphash.String(seed, k)) & (size - 1)
		for table[at] != 0 && keys[table[at]-1] != k {
			at = (at + 1) & (size - 1)
		}
		if before := table[at]; before != 0 {
			if live == nil {
				live = make([]bool, len(keys))
				for j := range live {
					live[j] = true
				}
			}
			live[before-1] = false
		}
		table[at] = int32(i) + 1
	}
	return live
}

func pick[T any](from []T, rows []int32) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = from[r]
	}
	return out
}

// columns are those of a table that Rows made.
type columns struct {
	entities [][]string
	key      []string
	time     []int64
	known    [][]int64
	values   [][]float64
}

func open(v *View, t *parquet.Table) (*columns, error) {
	c := &columns{}
	var missing string
	col := func(name string, kind parquet.Kind) *parquet.Column {
		got := t.Column(name)
		if got == nil || got.Kind != kind {
			missing = name
			return &parquet.Column{}
		}
		return got
	}
	for _, e := range v.Spec.Entity {
		c.entities = append(c.entities, col(EntityPrefix+e.Key, parquet.String).Strings)
	}
	c.key, c.time = col(KeyColumn, parquet.String).Strings, col(TimeColumn, parquet.Int).Ints
	for _, f := range v.Plan.Features {
		var known []int64
		if k := t.Column(KnownPrefix + f.Name); k != nil {
			known = k.Ints
		}
		c.known = append(c.known, known)
		c.values = append(c.values, col(FeaturePrefix+f.Name, parquet.Float).Floats)
	}
	if missing != "" {
		return nil, fmt.Errorf("rows of view %s lack column %s", v.Name, missing)
	}
	return c, nil
}

func (c *columns) entity(row int) string {
	if len(c.entities) == 1 {
		return c.entities[0][row]
	}
	parts := make([]string, len(c.entities))
	for i := range c.entities {
		parts[i] = c.entities[i][row]
	}
	return strings.Join(parts, KeySeparator)
}

// NoRows stands for an entity that nothing is known of.
func NoRows(p *domain.Plan) *domain.Rows {
	n := len(p.Features)
	return &domain.Rows{Known: make([][]int64, n), Values: make([][]float64, n)}
}

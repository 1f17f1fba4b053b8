package rules

import (
	"maps"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// sortedMap is a CEL map whose keys come in order; Go's own come in any.
type sortedMap struct {
	traits.Mapper
	keys []string
}

func sorted(m map[string]float64) sortedMap {
	if m == nil {
		m = map[string]float64{}
	}
	return sortedMap{
		Mapper: types.NewDynamicMap(types.DefaultTypeAdapter, m),
		keys:   slices.Sorted(maps.Keys(m)),
	}
}

// Iterator implements traits.Iterable.
func (m sortedMap) Iterator() traits.Iterator {
	return &iterator{Iterator: m.Mapper.Iterator(), keys: m.keys}
}

// iterator walks the sorted keys.
type iterator struct {
	traits.Iterator
	keys []string
	next int
}

// HasNext implements traits.Iterator.
func (i *iterator) HasNext() ref.Val { return types.Bool(i.next < len(i.keys)) }

// Next implements traits.Iterator.
func (i *iterator) Next() ref.Val {
	if i.next >= len(i.keys) {
		return nil
	}
	i.next++
	return types.String(i.keys[i.next-1])
}

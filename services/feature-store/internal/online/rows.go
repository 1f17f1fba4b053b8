package online

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/domain"
)

// pushedRank is that of rows that were pushed; a commit's is its number + 1, so
// that what was committed replaces what was pushed, and a later commit an earlier.
const pushedRank = 0

// viewRows are the rows of one view version that an instant can still see.
type viewRows struct {
	view *compute.View

	mu        sync.RWMutex
	entities  map[string]*domain.Rows
	positions map[string]position // of each row, by its key
	horizon   int64               // rows up to here have been dropped
}

type position struct {
	entity string
	time   int64
	rank   int64
}

func newViewRows(v *compute.View) *viewRows {
	return &viewRows{view: v, entities: map[string]*domain.Rows{}, positions: map[string]position{}, horizon: math.MinInt64}
}

// add enters the rows of a table that compute.Rows made. A row whose key is there
// with a higher rank is not entered; with a lower or the same it is replaced.
func (w *viewRows) add(t *parquet.Table, rank int64) error {
	batch, err := compute.Group(w.view, t)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for entity, rows := range batch {
		w.merge(entity, rows, rank)
	}
	return nil
}

func (w *viewRows) merge(entity string, rows *domain.Rows, rank int64) {
	into := w.entities[entity]
	if into == nil {
		into = compute.NoRows(w.view.Plan)
		w.entities[entity] = into
	}
	for i, key := range rows.Keys {
		if rows.Time[i] <= w.horizon {
			continue
		}
		if old, ok := w.positions[key]; ok {
			if old.rank > rank {
				continue
			}
			w.remove(key, old)
		}
		w.positions[key] = position{entity, rows.Time[i], rank}
		insert(into, rows, i)
	}
	if len(into.Time) == 0 {
		delete(w.entities, entity)
	}
}

func (w *viewRows) remove(key string, p position) {
	r := w.entities[p.entity]
	if r == nil {
		return
	}
	at, found := find(r, p.time, key)
	if !found {
		return
	}
	r.Keys, r.Time = slices.Delete(r.Keys, at, at+1), slices.Delete(r.Time, at, at+1)
	for f := range r.Values {
		if r.Known[f] != nil {
			r.Known[f] = slices.Delete(r.Known[f], at, at+1)
		}
		r.Values[f] = slices.Delete(r.Values[f], at, at+1)
	}
}

func find(r *domain.Rows, time int64, key string) (int, bool) {
	return sort.Find(len(r.Time), func(i int) int {
		if c := cmp.Compare(time, r.Time[i]); c != 0 {
			return c
		}
		return strings.Compare(key, r.Keys[i])
	})
}

// insert puts row i of from at its position in r.
func insert(r, from *domain.Rows, i int) {
	at, _ := find(r, from.Time[i], from.Keys[i])
	for f := range r.Values {
		if from.Known[f] != nil && r.Known[f] == nil {
			r.Known[f] = append(make([]int64, 0, len(r.Time)+1), r.Time...) // not nil, also where there are no rows
		}
		if r.Known[f] != nil {
			known := from.Time[i]
			if from.Known[f] != nil {
				known = from.Known[f][i]
			}
			r.Known[f] = slices.Insert(r.Known[f], at, known)
		}
		r.Values[f] = slices.Insert(r.Values[f], at, from.Values[f][i])
	}
	r.Keys, r.Time = slices.Insert(r.Keys, at, from.Keys[i]), slices.Insert(r.Time, at, from.Time[i])
}

// prune drops rows up to and with an instant.
func (w *viewRows) prune(horizon int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if horizon <= w.horizon {
		return
	}
	w.horizon = horizon
	for entity, r := range w.entities {
		n := sort.Search(len(r.Time), func(i int) bool { return r.Time[i] > horizon })
		if n == 0 {
			continue
		}
		for _, key := range r.Keys[:n] {
			delete(w.positions, key)
		}
		if n == len(r.Time) {
			delete(w.entities, entity)
			continue
		}
		r.Keys, r.Time = slices.Clone(r.Keys[n:]), slices.Clone(r.Time[n:])
		for f := range r.Values {
			if r.Known[f] != nil {
				r.Known[f] = slices.Clone(r.Known[f][n:])
			}
			r.Values[f] = slices.Clone(r.Values[f][n:])
		}
	}
}

// A Status says what a value is, in Feast's words.
type Status uint8

// The statuses.
const (
	Present Status = iota
	NullValue
	NotFound
	OutsideMaxAge
)

var statusNames = [...]string{"PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"}

func (s Status) String() string { return statusNames[s] }

// Values are one feature's for a batch of entities.
type Values struct {
	Numbers  []float64 // NaN: neither a value nor a default
	Statuses []Status
	Newest   []int64 // microseconds of the newest row that the view saw; 0 for none
}

// at evaluates the view for each entity as of an instant; one Values per feature
// of the view. An empty entity is one that is not named.
func (w *viewRows) at(entities []string, t int64) []Values {
	n := len(w.view.Plan.Features)
	out := make([]Values, n)
	for f := range out {
		out[f] = Values{make([]float64, len(entities)), make([]Status, len(entities)), make([]int64, len(entities))}
	}
	first := make(map[string]int, 64)
	values := make([]float64, n)
	empty := compute.NoRows(w.view.Plan)
	w.mu.RLock()
	defer w.mu.RUnlock()
	for i, entity := range entities {
		if j, ok := first[entity]; ok {
			for f := range out {
				out[f].Numbers[i], out[f].Statuses[i], out[f].Newest[i] = out[f].Numbers[j], out[f].Statuses[j], out[f].Newest[j]
			}
			continue
		}
		first[entity] = i
		rows, found := w.entities[entity]
		if !found {
			rows = empty
		}
		newest, seen := w.view.Plan.At(rows, t, values)
		if !seen {
			newest = 0
		}
		stale := w.view.Plan.TTL > 0 && newest <= t-w.view.Plan.TTL
		for f, x := range values {
			status := Present
			if math.IsNaN(x) || math.IsInf(x, 0) {
				x = w.view.Defaults[f]
				switch {
				case !found:
					status = NotFound
				case !seen || stale:
					status = OutsideMaxAge
				default:
					status = NullValue
				}
			}
			out[f].Numbers[i], out[f].Statuses[i], out[f].Newest[i] = x, status, newest
		}
	}
	return out
}

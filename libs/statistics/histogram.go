package statistics

import (
	"errors"
	"math"
	"slices"
)

// A Histogram counts numbers between edges. With edges e0 < e1 < … < ek it has
// k+2 bins: below e0, [e0,e1), …, [ek-1,ek), and from ek on, so that every number
// has a bin, also one that the reference never saw.
type Histogram struct {
	Edges  []float64 `json:"edges"`
	Counts []int64   `json:"counts"`
}

// ErrEdges says that two histograms, or two columns, do not have the same bins.
var ErrEdges = errors.New("the histograms have different bins")

// NewHistogram returns an empty histogram. Edges are sorted and made distinct.
func NewHistogram(edges []float64) *Histogram {
	e := finite(edges)
	slices.Sort(e)
	e = slices.Compact(e)
	return &Histogram{Edges: e, Counts: make([]int64, len(e)+1)}
}

// QuantileEdges are edges that put about the same share of the values in each of
// at most bins bins, from the smallest value to just above the greatest: what lies
// outside the reference's range falls in the two outer bins. A value that repeats
// has an edge only once, so columns of few values get one bin per value.
func QuantileEdges(values []float64, bins int) []float64 {
	xs := finite(values)
	if len(xs) == 0 || bins < 1 {
		return nil
	}
	slices.Sort(xs)
	last := xs[len(xs)-1]
	above := math.Nextafter(last, math.Inf(1))
	if math.IsInf(above, 1) {
		above = last
	}
	if distinct := distinctUpTo(xs, bins); distinct != nil {
		return append(distinct, above)
	}
	edges := make([]float64, 0, bins+1)
	for i := range bins {
		// the lower order statistic, so that an edge is a value that occurs
		edges = append(edges, xs[i*len(xs)/bins])
	}
	return slices.Compact(append(edges, above))
}

// Add counts one number; not-a-number is left out and reported as false.
func (h *Histogram) Add(x float64) bool {
	if math.IsNaN(x) {
		return false
	}
	h.Counts[h.bin(x)]++
	return true
}

// bin is the number of edges that are not above x.
func (h *Histogram) bin(x float64) int {
	low, high := 0, len(h.Edges)
	for low < high {
		mid := int(uint(low+high) >> 1)
		if h.Edges[mid] <= x {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// Merge adds another histogram's counts.
func (h *Histogram) Merge(other *Histogram) error {
	if !slices.Equal(h.Edges, other.Edges) || len(h.Counts) != len(other.Counts) {
		return ErrEdges
	}
	for i, n := range other.Counts {
		h.Counts[i] += n
	}
	return nil
}

// Empty returns a histogram of the same bins that counted nothing.
func (h *Histogram) Empty() *Histogram {
	return &Histogram{Edges: h.Edges, Counts: make([]int64, len(h.Counts))}
}

// Total is how many numbers were counted.
func (h *Histogram) Total() int64 {
	var n int64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Floats are the counts as PSI takes them.
func (h *Histogram) Floats() []float64 {
	out := make([]float64, len(h.Counts))
	for i, n := range h.Counts {
		out[i] = float64(n)
	}
	return out
}

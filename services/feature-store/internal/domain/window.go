package domain

import (
	"math"
	"sort"
)

// Never is the known-at of what does not become known.
const Never = math.MaxInt64

// A Plan is what a windowed view computes. Times are microseconds since 1970.
type Plan struct {
	Window   int64
	TTL      int64 // the newest visible row may be no older; 0 for no limit
	Features []Feature
}

// Rows are rows of one entity, ordered by (Time, Key). Values and Known have one
// slice for each feature of the plan; a Known that is nil means that a value is
// known at its row's time. NaN is no value.
type Rows struct {
	Keys   []string
	Time   []int64
	Known  [][]int64
	Values [][]float64
}

// A row is visible at t if it was known before t and happened in the window:
//
//	known < t  and  t - window < time <= t
//
// At fills out with the value of each feature at t; NaN where there is none. It
// returns the time of the newest row that any feature saw, or false if none did.
//
// Values are added up in the rows' order, so that the same rows give the same
// bits, wherever they come from.
func (p *Plan) At(r *Rows, t int64, out []float64) (newest int64, seen bool) {
	lo := sort.Search(len(r.Time), func(i int) bool { return r.Time[i] > t-p.Window })
	hi := lo + sort.Search(len(r.Time)-lo, func(i int) bool { return r.Time[lo+i] > t })
	newest = math.MinInt64
	for f := range p.Features {
		known := r.Time
		if r.Known[f] != nil {
			known = r.Known[f]
		}
		last := newestVisible(r.Time[lo:hi], known[lo:hi], t)
		if last > newest {
			newest = last
		}
		if p.TTL > 0 && last <= t-p.TTL { // also where nothing is visible
			out[f] = nothing(p.Features[f].Aggregate)
			continue
		}
		out[f] = aggregate(p.Features[f].Aggregate, r.Values[f][lo:hi], known[lo:hi], t)
	}
	return newest, newest != math.MinInt64
}

func newestVisible(time, known []int64, t int64) int64 {
	for i := len(time) - 1; i >= 0; i-- {
		if known[i] < t {
			return time[i]
		}
	}
	return math.MinInt64
}

// nothing is an aggregate over no rows.
func nothing(a Aggregate) float64 {
	if a == Count {
		return 0
	}
	return math.NaN()
}

func aggregate(a Aggregate, values []float64, known []int64, t int64) float64 {
	n, sum := 0, 0.0
	low, high := math.Inf(1), math.Inf(-1)
	for i, v := range values {
		if known[i] >= t || v != v {
			continue
		}
		n++
		sum += v
		if v < low {
			low = v
		}
		if v > high {
			high = v
		}
	}
	if n == 0 {
		return nothing(a)
	}
	switch a {
	case Count:
		return float64(n)
	case Sum:
		return sum
	case Average:
		return sum / float64(n)
	case Minimum:
		return low
	case Maximum:
		return high
	default:
		if n < 2 {
			return math.NaN()
		}
		mean, squares := sum/float64(n), 0.0
		for i, v := range values {
			if known[i] < t && v == v {
				d := v - mean
				squares += d * d
			}
		}
		return math.Sqrt(squares / float64(n-1))
	}
}

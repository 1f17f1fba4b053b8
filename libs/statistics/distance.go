package statistics

import (
	"math"
	"slices"
)

// PSI is the population stability index of two histograms over the same bins,
// Σ (r-c)·ln(r/c) over shares, as Evidently computes it: an empty bin's share
// counts as 0.0001, or as a millionth of the smallest other share where that is
// not above 0.0001. It is 0 where either histogram is empty: nothing was seen,
// so nothing is known to have moved. NaN if the numbers of bins differ.
func PSI(reference, current []float64) float64 {
	if len(reference) != len(current) {
		return math.NaN()
	}
	r, c := shares(reference), shares(current)
	if r == nil || c == nil {
		return 0
	}
	fillZeros(r)
	fillZeros(c)
	var sum float64
	for i := range r {
		sum += (r[i] - c[i]) * math.Log(r[i]/c[i])
	}
	return sum
}

// JensenShannon is the Jensen-Shannon distance (the square root of the
// divergence, base 2) of two histograms over the same bins, as SciPy's
// distance.jensenshannon. 0 where either is empty, NaN if the bins differ.
func JensenShannon(reference, current []float64) float64 {
	if len(reference) != len(current) {
		return math.NaN()
	}
	r, c := shares(reference), shares(current)
	if r == nil || c == nil {
		return 0
	}
	var sum float64
	for i := range r {
		m := (r[i] + c[i]) / 2
		if r[i] > 0 {
			sum += r[i] * math.Log2(r[i]/m)
		}
		if c[i] > 0 {
			sum += c[i] * math.Log2(c[i]/m)
		}
	}
	return math.Sqrt(math.Max(sum/2, 0))
}

// KolmogorovSmirnov is the greatest difference of the two samples' empirical
// distribution functions (the statistic of scipy.stats.ks_2samp). NaN for an
// empty sample.
func KolmogorovSmirnov(reference, current []float64) float64 {
	if len(reference) == 0 || len(current) == 0 {
		return math.NaN()
	}
	a, b := slices.Clone(reference), slices.Clone(current)
	slices.Sort(a)
	slices.Sort(b)
	var i, j int
	var most float64
	for i < len(a) && j < len(b) {
		x := math.Min(a[i], b[j])
		for i < len(a) && a[i] <= x {
			i++
		}
		for j < len(b) && b[j] <= x {
			j++
		}
		d := math.Abs(float64(i)/float64(len(a)) - float64(j)/float64(len(b)))
		most = math.Max(most, d)
	}
	return most
}

// PSIOfSamples is Evidently's PSI of two numeric samples: over one bin per
// distinct value where the reference has at most 20, else over equal bins by
// Sturges' rule on both samples together (numpy's histogram_bin_edges).
// Not-a-number values are left out, as Evidently drops them.
func PSIOfSamples(reference, current []float64) float64 {
	r, c := finite(reference), finite(current)
	if len(r) == 0 || len(c) == 0 {
		return 0
	}
	if distinct := distinctUpTo(r, 20); distinct != nil {
		return psiOfValues(r, c)
	}
	edges := sturges(r, c)
	return PSI(closedCounts(edges, r), closedCounts(edges, c))
}

func finite(xs []float64) []float64 {
	out := make([]float64, 0, len(xs))
	for _, x := range xs {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			out = append(out, x)
		}
	}
	return out
}

// distinctUpTo returns the sorted distinct values, or nil if there are more than limit.
func distinctUpTo(xs []float64, limit int) []float64 {
	var seen []float64
	for _, x := range xs {
		at, found := slices.BinarySearch(seen, x)
		if found {
			continue
		}
		if len(seen) == limit {
			return nil
		}
		seen = slices.Insert(seen, at, x)
	}
	return seen
}

func psiOfValues(r, c []float64) float64 {
	counts := map[float64][2]float64{}
	for _, x := range r {
		n := counts[x]
		n[0]++
		counts[x] = n
	}
	for _, x := range c {
		n := counts[x]
		n[1]++
		counts[x] = n
	}
	values := make([]float64, 0, len(counts))
	for x := range counts {
		values = append(values, x)
	}
	slices.Sort(values) // summation order must not depend on a map's
	rc, cc := make([]float64, len(values)), make([]float64, len(values))
	for i, x := range values {
		rc[i], cc[i] = counts[x][0], counts[x][1]
	}
	return PSI(rc, cc)
}

// sturges gives numpy's edges: width = range/(log2(n)+1), bins = ceil(range/width).
func sturges(r, c []float64) []float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, xs := range [][]float64{r, c} {
		for _, x := range xs {
			low, high = math.Min(low, x), math.Max(high, x)
		}
	}
	bins := 1
	if high > low {
		width := (high - low) / (math.Log2(float64(len(r)+len(c))) + 1)
		bins = int(math.Ceil((high - low) / width))
	} else {
		low, high = low-0.5, high+0.5
	}
	edges := make([]float64, bins+1)
	for i := range edges {
		edges[i] = low + float64(i)*((high-low)/float64(bins))
	}
	edges[bins] = high
	return edges
}

// closedCounts counts into [e0,e1), … [ek-1,ek]: numpy closes the last bin.
func closedCounts(edges, xs []float64) []float64 {
	counts := make([]float64, len(edges)-1)
	for _, x := range xs {
		at, found := slices.BinarySearch(edges, x)
		if !found {
			at--
		}
		counts[min(max(at, 0), len(counts)-1)]++
	}
	return counts
}

// shares are counts divided by their sum, nil if that is not positive.
func shares(counts []float64) []float64 {
	var total float64
	for _, n := range counts {
		total += n
	}
	if !(total > 0) {
		return nil
	}
	out := make([]float64, len(counts))
	for i, n := range counts {
		out[i] = n / total
	}
	return out
}

func fillZeros(s []float64) {
	least := math.Inf(1)
	for _, x := range s {
		if x > 0 {
			least = math.Min(least, x)
		}
	}
	fill := 0.0001
	if least <= fill {
		fill = least / 1e6
	}
	for i, x := range s {
		if x == 0 {
			s[i] = fill
		}
	}
}

package page

import (
	"maps"
	"slices"
	"strconv"
)

// lineUp makes a row per metric of the candidate, in the order of their names; a
// predictor without the metric has a dash.
func lineUp(candidate, champion, naive map[string]float64) []measure {
	rows := make([]measure, 0, len(candidate))
	for _, k := range slices.Sorted(maps.Keys(candidate)) {
		rows = append(rows, measure{Metric: k, Candidate: figure(candidate, k), Champion: figure(champion, k), Naive: figure(naive, k)})
	}
	return rows
}

func figure(m map[string]float64, k string) string {
	v, ok := m[k]
	if !ok {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// Package goname makes the names that generated Go code has of the names that contracts
// have. Every tool takes them from here, so that all of them name the same thing the same.
package goname

import "strings"

var initialisms = map[string]string{"id": "ID", "url": "URL", "uri": "URI", "sql": "SQL", "cel": "CEL", "psi": "PSI", "kpi": "KPI", "cpu": "CPU",
	"ml": "ML", "ms": "MS", "p50": "P50", "p99": "P99"}

// Of is the exported Go name of a name: data_committed is DataCommitted.
func Of(s string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == '_' || r == '-' || r == '.' }) {
		if v, ok := initialisms[part]; ok {
			b.WriteString(v)
		} else {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

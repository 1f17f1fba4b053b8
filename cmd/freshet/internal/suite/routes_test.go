package suite

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// RequireRoutes checks that the routes that are known of every service, whether it runs or
// not, are those of its mux. They are read from the services' source: a pattern that is no
// literal there is missing here.
func RequireRoutes(t *testing.T, s *Suite) {
	t.Helper()
	for _, one := range s.services {
		i := slices.IndexFunc(definitions, func(d definition) bool { return d.name == one.Name() })
		require.GreaterOrEqual(t, i, 0, one.Name())
		var served []string
		for _, route := range one.Mux().Routes() {
			pattern := route.Pattern
			_, path, _ := strings.Cut(pattern, " ")
			if !slices.ContainsFunc(shared, func(what string) bool { return path == what+one.Name() || strings.HasPrefix(path, what+one.Name()+"/") }) {
				served = append(served, pattern)
			}
		}
		require.ElementsMatch(t, served, definitions[i].routes, "write the routes of %s as literals, and run make generate", one.Name())
	}
}

// Patterns are those of all routes that a suite serves.
func Patterns(s *Suite) []string {
	var all []string
	for _, route := range s.front.own.Routes() {
		all = append(all, route.Pattern)
	}
	for _, one := range s.services {
		for _, route := range one.Mux().Routes() {
			all = append(all, route.Pattern)
		}
	}
	return all
}

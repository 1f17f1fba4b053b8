package events

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyTheOwnerMayPublish(t *testing.T) {
	t.Parallel()
	require.NotEmpty(t, Services())
	for typ, c := range Channels {
		parts := strings.Split(typ, ".")
		subject := "freshet.default." + strings.Join(parts[2:], ".")
		for _, service := range Services() {
			require.Equal(t, service == c.Owner, covered(PublishSubjects(service), subject), "%s publishing %s", service, subject)
		}
	}
	require.Nil(t, PublishSubjects("nobody"))
}

func TestProducesAndConsumes(t *testing.T) {
	t.Parallel()
	require.Contains(t, Produces("registry"), TypeChampionChanged)
	require.NotContains(t, Produces("registry"), TypeRolloutStarted)
	require.Contains(t, Consumes("deployment"), TypeModelVersionApproved)
	require.Empty(t, Consumes("nobody"))
	all := 0
	for _, service := range Services() {
		all += len(Produces(service))
	}
	require.Equal(t, len(Channels), all)
}

// covered reports whether a subject matches one of the filters, as NATS matches.
func covered(filters []string, subject string) bool {
	tokens := strings.Split(subject, ".")
next:
	for _, f := range filters {
		parts := strings.Split(f, ".")
		for i, p := range parts {
			switch {
			case p == ">":
				return len(tokens) > i
			case i >= len(tokens) || p != "*" && p != tokens[i]:
				continue next
			}
		}
		if len(parts) == len(tokens) {
			return true
		}
	}
	return false
}

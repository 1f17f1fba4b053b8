package events

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPermissionsAllowOnlyTheOwner(t *testing.T) {
	t.Parallel()
	require.Len(t, Services(), 8)
	for _, service := range Services() {
		p := NATSPermissions(service, "FRESHET_1")
		for _, subject := range p.Publish {
			require.False(t, strings.HasPrefix(subject, "$JS.API.STREAM.PURGE"), subject)
			require.False(t, strings.HasPrefix(subject, "$JS.API.STREAM.DELETE"), subject)
			require.NotContains(t, []string{">", "freshet.>", "$JS.>", "$JS.API.>"}, subject)
		}
		for _, typ := range Produces(service) {
			c := Channels[typ]
			require.Equal(t, service, c.Owner)
			parts := strings.Split(typ, ".")
			subject := "freshet.default." + strings.Join(parts[2:], ".")
			for _, other := range Services() {
				require.Equal(t, other == service, covered(NATSPermissions(other, "FRESHET_1").Publish, subject), "%s publishing %s", other, subject)
			}
		}
	}
	require.Nil(t, PublishSubjects("nobody"))
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

package suite

import (
	"slices"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/stretchr/testify/require"
)

// channels.yaml says who reads an event; the folds show it. A service applies its
// own decisions without being listed as a reader of them.
func TestConsumersAreWhoConsumes(t *testing.T) {
	t.Parallel()
	all, err := Folds()
	require.NoError(t, err)
	require.ElementsMatch(t, events.Services(), Names())
	shown, said := map[string][]string{}, map[string][]string{}
	for typ, c := range events.Channels {
		if handledByLog[typ[len("io.freshet."+c.Owner+".v1."):]] {
			continue // the log itself handles these for every service
		}
		var consumers []string
		for name, fold := range all {
			if slices.Contains(fold.Types(), typ) && !(name == c.Owner && c.Decision) {
				consumers = append(consumers, name)
			}
		}
		slices.Sort(consumers)
		shown[typ], said[typ] = consumers, slices.Sorted(slices.Values(c.Consumers))
	}
	require.Equal(t, shown, said, "expected is what the folds consume, actual is what channels.yaml says")
	for name, fold := range all {
		for _, typ := range fold.Types() {
			require.Contains(t, events.Channels, typ, "%s consumes a type without a contract", name)
		}
	}
}

var handledByLog = map[string]bool{"service_activated": true, "event_parked": true, "event_retried": true, "event_discarded": true}

package cli

import (
	"testing"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/stretchr/testify/require"
)

// A wait ends where it cannot learn anything, and where nothing moves.
func TestAWaitNeedsTheConsoleAndMoves(t *testing.T) {
	t.Parallel()
	answers := map[string]string{"POST /v1/trainings": `{"id":"e1","ripple":"e1"}`, "GET /statusz": `{"services":{"training":{"position":9}},"end":9}`}
	url, _ := suiteOf(t, answers)
	_, err := run(t, "runs", "start", "m", "--wait", "--url", url)
	require.ErrorContains(t, err, "console is not running")
	require.Equal(t, exitError, exitCode(err))

	answers["GET /statusz"] = `{"services":{"console":{"position":9}},"end":9}`
	_, err = run(t, "runs", "start", "m", "--wait", "--timeout", "1s", "--url", url)
	require.ErrorContains(t, err, "nothing moved for 1s (--timeout): the console does not know the ripple yet")
	require.Equal(t, exitTimeout, exitCode(err))
}

// What a ripple's last event leads to may not be in the log yet, or not in the console.
func TestARippleIsOverWhenAllDecisionsAreInIt(t *testing.T) {
	t.Parallel()
	at := func(registry, console, end uint64, outbox int64) suite.Status {
		return suite.Status{End: end, Services: map[string]service.Status{
			"registry": {Position: registry, Behind: map[string]int64{"outbox": outbox}}, "console": {Position: console}}}
	}
	for _, steps := range [][]struct {
		status suite.Status
		last   uint64
		over   bool
	}{
		{{at(4, 5, 5, 0), 5, false}, {at(4, 5, 5, 0), 5, false}}, // the registry has not applied it
		{{at(5, 5, 5, 1), 5, false}, {at(5, 5, 5, 1), 5, false}}, // it has not published its decision
		{{at(5, 5, 7, 0), 5, false}, {at(7, 6, 7, 0), 5, false}, {at(7, 7, 7, 0), 5, true}},
		{{at(5, 5, 6, 0), 5, false}, {at(5, 6, 6, 0), 6, false}, {at(6, 6, 6, 0), 6, false}, {at(6, 6, 9, 0), 6, true}},
	} {
		var r resting
		for n, s := range steps {
			require.Equal(t, s.over, r.sees(s.status, ripple{Changed: s.last}), "step %d of %v", n, steps)
		}
	}
}

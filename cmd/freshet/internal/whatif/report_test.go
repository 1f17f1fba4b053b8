package whatif

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAReportShowsTheFieldsThatDiffer(t *testing.T) {
	t.Parallel()
	decision := func(data string) Brief {
		return Brief{ID: "d", Type: "io.freshet.registry.v1.model_version_approved", Data: json.RawMessage(data)}
	}
	r := Report{Model: "m", From: 3, To: 9, Kept: 4, Compared: 5, Dropped: 1, Unknown: 2, Alike: 6, Lost: &Lost{At: 7, Time: day, Why: "nobody asked"},
		Branches: []Branch{
			{Ripple: "a", Began: day, Differ: 2, Unknown: 2, Ends: []End{{At: 7, Unknown: true, Why: "nobody asked"}}, First: &Difference{At: 5, Service: "registry",
				On:      Brief{Type: "io.freshet.training.v1.candidate_measured", Subject: "m"},
				Then:    []Brief{decision(`{"version":2,"champion":5,"rollout":{"requests":1,"canary":[10]},"steps":[1,2]}`)},
				Instead: []Brief{decision(`{"champion":1,"rollout":{"canary":[10],"requests":1},"steps":[3],"version":2}`)}}},
			{Ripple: "b", Began: day, Dropped: 1, Ends: []End{{At: 6, Why: "it is about production, where nothing serves"}}},
			{Ripple: "c", Began: day, Unknown: 1},
		}}
	var b strings.Builder
	require.NoError(t, r.Write(&b))
	require.Equal(t, `m, from 3 to 9 of the log: 4 events kept, 5 decisions made again
1 ripple differs; 1 recorded event does not happen, and 2 are unknown
6 decisions quote other rules and decide the same
the outcome of m is unknown from 7 on, 6 Jan 2001 00:00: nobody asked

6 Jan 2001 00:00  ripple a
  registry, on candidate_measured of m at 5:
    then     model_version_approved  champion: 5  steps: [1,2]
    what if  model_version_approved  champion: 1  steps: [3]
    and 1 more in this ripple
  unknown from here: nobody asked
  2 recorded events are unknown

6 Jan 2001 00:00  ripple b
  does not happen: it is about production, where nothing serves
  1 recorded event does not happen

1 other ripples are unknown in part or in whole (-o json shows them)
`, b.String())
}

package lineage

import (
	"strings"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/stretchr/testify/require"
)

// Whatever was rejected, a person reads which rule was broken, where, and what to do.
func TestWhatWasRejectedSaysRulePlaceAndFix(t *testing.T) {
	t.Parallel()
	require.Equal(t, "data for flights was rejected: 5,518 of 16,553 rows broke an expectation (sql:no_loops, 5,518 rows), more than the dataset allows; "+
		"correct the rows (they are in quarantine, sha256:ab), or change the expectation",
		dataRejected(events.DataRejected{Dataset: "flights", Reason: "too_many_failures", Rows: 16553, Failed: 5518,
			Failures: []events.RuleFailure{{Rule: "sql:no_loops", Rows: 5518}}, Quarantine: &events.Object{Digest: "sha256:ab"}}))
	require.Equal(t, "data for flights was rejected: its columns are not the declared ones (column:delay); "+
		"send these columns, or change the dataset's declaration",
		dataRejected(events.DataRejected{Dataset: "flights", Reason: "schema", Rows: 1, Failures: []events.RuleFailure{{Rule: "column:delay"}}}))
	require.Equal(t, "revision 01234567 of models was rejected: freshet.yaml:12: mode is \"fast\" (write act or observe); freshet.yaml:13: two (b); "+
		"freshet.yaml:14: three (c); and 1 more, which freshet validate tells",
		codeRejected(events.CodeRejected{Repository: "models", Revision: "0123456789abcdef", Reason: "invalid", Problems: []events.Problem{
			{File: "freshet.yaml", Line: 12, Message: `mode is "fast"`, Fix: "write act or observe"}, {File: "freshet.yaml", Line: 13, Message: "two", Fix: "b"},
			{File: "freshet.yaml", Line: 14, Message: "three", Fix: "c"}, {File: "freshet.yaml", Line: 15, Message: "four", Fix: "d"}}}))
	for _, reason := range []string{"unreadable", "schema", "too_many_failures", "unknown_dataset", "duplicate", "empty"} {
		said := dataReason(events.DataRejected{Dataset: "d", Reason: reason})
		require.Greater(t, len(strings.Fields(said)), 5, said)
		require.Contains(t, said, "; ", "and what to do")
	}
	for _, reason := range []string{"invalid", "fetch_failed", "too_large", "unsafe_path", "superseded"} {
		said := codeReason(events.CodeRejected{Reason: reason})
		require.Greater(t, len(strings.Fields(said)), 5, said)
		require.Contains(t, said, "; ", "and what to do")
	}
}

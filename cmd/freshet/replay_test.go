package main

import (
	"encoding/json"
	"testing"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
)

// verify folds and decides everything once more, and finds all services equal to
// what is live.
func (r running) verify(t *testing.T, args ...string) []eventlog.Report {
	t.Helper()
	cmd, lines := freshet(t, append([]string{"replay", "verify", "--url", r.url, "-o", "json"}, args...)...)
	var out []byte
	for lines.Scan() {
		out = append(append(out, lines.Bytes()...), '\n')
	}
	err := cmd.Wait()
	var answer struct{ Items []eventlog.Report }
	require.NoError(t, json.Unmarshal(out, &answer), "%s", out)
	require.NoError(t, err, "%s", out)
	for _, report := range answer.Items {
		require.True(t, report.Equal, "%s", out)
		require.NotZero(t, report.Events, report.Service)
		require.NotZero(t, report.Rows, report.Service)
		require.Zero(t, report.Reported, report.Service)
	}
	return answer.Items
}

// checkReplay verifies every service of a suite from the log and from the archive,
// rebuilds one, and verifies it again.
func checkReplay(t *testing.T, r running) {
	t.Helper()
	fromLog, fromArchive := r.verify(t), r.verify(t, "--from", "archive")
	require.Len(t, fromLog, len(suite.Names()))
	decisions := int64(0)
	digests := map[string]string{}
	for i, report := range fromLog {
		require.Equal(t, report.Digest, fromArchive[i].Digest, report.Service)
		digests[report.Service] = report.Digest
		decisions += report.Decisions
	}
	require.NotZero(t, decisions)
	cmd, lines := freshet(t, "replay", "rebuild", "--url", r.url, "--service", "registry")
	until(t, lines, `registry: rebuilt from \d+ events in \S+ \(\S+ events/s\) and swapped in$`)
	require.NoError(t, cmd.Wait())
	again := r.verify(t, "--service", "registry")
	require.Len(t, again, 1)
	require.Equal(t, digests["registry"], again[0].Digest)
}

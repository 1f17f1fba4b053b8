package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnIDThatSeveralBeginWithIsRefused(t *testing.T) {
	t.Parallel()
	url, _ := suiteOf(t, map[string]string{
		"GET /v1/runs":            `{"items":[{"run":"abcdef01-1","request":"11111111-1"},{"run":"abcdef02-2","request":"22222222-2"}]}`,
		"GET /v1/runs/abcdef01-1": `{"run":"abcdef01-1"}`, "GET /v1/runs/22222222-2": `{"run":"abcdef02-2"}`,
	})
	_, err := run(t, "runs", "show", "abcdef", "--url", url)
	require.EqualError(t, err, `"abcdef" begins the id of 2 runs; write more of it: abcdef01-1, abcdef02-2`)
	require.Equal(t, exitUsage, exitCode(err))
	for part, whole := range map[string]string{"abcdef01": "abcdef01-1", "222222": "abcdef02-2"} {
		out, err := run(t, "runs", "show", part, "--url", url)
		require.NoError(t, err)
		require.Contains(t, out, whole)
	}
}

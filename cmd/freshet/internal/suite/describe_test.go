package suite_test

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/web/openapi"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the description of the API anew")

const description = "../../../../contracts/openapi.json"

// What is committed is what a suite answers; linters and generators of clients read it there.
func TestTheDescriptionIsOfWhatIsServed(t *testing.T) {
	t.Parallel()
	s, err := suite.Start(t.Context(), suite.Options{DataDir: dataDir(t), Auth: service.AuthToken, Listen: "127.0.0.1:0", Logger: logger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/openapi.json", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+s.Token())
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // only read from
	require.Equal(t, http.StatusOK, res.StatusCode)
	var served struct {
		Paths map[string]map[string]map[string]any `json:"paths"`
	}
	var whole any
	raw := json.NewDecoder(res.Body)
	require.NoError(t, raw.Decode(&whole))
	written, err := json.MarshalIndent(whole, "", "  ")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(written, &served))

	var described []string
	for path, item := range served.Paths {
		for method, operation := range item {
			described = append(described, strings.ToUpper(method)+" "+path)
			require.NotEmpty(t, operation["x-role"], path)
			require.NotEmpty(t, operation["summary"], path)
			require.False(t, strings.HasSuffix(operation["summary"].(string), "."), path)
		}
	}
	patterns := map[string]bool{}
	for _, pattern := range suite.Patterns(s) {
		method, path, _ := strings.Cut(pattern, " ")
		patterns[method+" "+openapi.Path(path)] = true
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(patterns)), described)

	if *update {
		require.NoError(t, os.WriteFile(description, append(written, '\n'), 0o644))
	}
	committed, err := os.ReadFile(description)
	require.NoError(t, err)
	require.Equal(t, string(committed), string(written)+"\n", "run make describe-api")
}

package suite_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"testing"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/contracts"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/stretchr/testify/require"
)

// A schema is served at the path of its $id, whatever host the $id names.
func TestEveryContractIsServedAtThePathOfItsID(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t), "audit")
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	names, err := fs.Glob(contracts.FS, "*/v1/*.json")
	require.NoError(t, err)
	require.Greater(t, len(names), 100)
	served := map[string]string{} // by $id
	for _, name := range names {
		raw, err := contracts.FS.ReadFile(name)
		require.NoError(t, err)
		var schema struct {
			ID string `json:"$id"`
		}
		require.NoError(t, json.Unmarshal(raw, &schema))
		id, err := url.Parse(schema.ID)
		require.NoError(t, err)
		code, body := get(t, s.URL()+id.Path)
		require.Equal(t, http.StatusOK, code, "%s: %s", id.Path, body)
		require.Equal(t, string(raw), body)
		served[schema.ID] = id.Path
	}
	code, body := get(t, s.URL()+"/contracts")
	require.Equal(t, http.StatusOK, code)
	var list web.Items[suite.Contract]
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	listed := map[string]string{}
	for _, c := range list.Items {
		listed[c.ID] = c.Path
	}
	require.Equal(t, served, listed)

	for name, mediaType := range map[string]string{
		"asyncapi.yaml": "application/yaml", "channels.yaml": "application/yaml", "openapi.json": "application/json",
	} {
		raw, err := contracts.Documents.ReadFile(name)
		require.NoError(t, err)
		res, err := http.Head(s.URL() + "/contracts/" + name)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, mediaType, res.Header.Get("Content-Type"))
		code, body := get(t, s.URL()+"/contracts/"+name)
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, string(raw), body)
	}
}

// Who asks for what is not there is told what is.
func TestAContractThatDoesNotExist(t *testing.T) {
	t.Parallel()
	s := start(t, dataDir(t), "audit")
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	for path, there := range map[string]string{
		"/contracts/audit/v1/gap.json":          "/contracts/audit/v1/gap_found.json",
		"/contracts/audit/v2/gap_found.json":    "/contracts/audit/",
		"/contracts/nobody/v1/gap_found.json":   "/contracts/audit/",
		"/contracts/embed.go":                   "/contracts/asyncapi.yaml",
		"/contracts/%2e%2e/v1/gap_found.json":   "/contracts/audit/",
		"/contracts/audit/v1/..%2f..%2fgo.mod":  "/contracts/asyncapi.yaml",
		"/contracts/audit/v1/%2fgap_found.json": "/contracts/audit/v1/gap_found.json",
	} {
		code, body := get(t, s.URL()+path)
		require.Equal(t, http.StatusNotFound, code, "%s: %s", path, body)
		var problem web.ProblemDocument
		require.NoError(t, json.Unmarshal([]byte(body), &problem), path)
		require.Contains(t, problem.Detail, there, path)
	}
}

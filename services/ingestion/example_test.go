package ingestion_test

import (
	"io/fs"
	"net/http"
	"os"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/ingestion"
	"github.com/stretchr/testify/require"
)

const example = "../../examples/flight-delays"

func TestTheExampleIsValid(t *testing.T) {
	t.Parallel()
	problems, err := ingestion.Validate(os.DirFS(example + "/model"))
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestADayOfRealFlights(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commit("the example", read(t, "model"))
	b.connect()
	b.AwaitType(events.TypeModelDeclared, 1)
	raw, err := os.ReadFile(example + "/data/2001-01-19.parquet")
	require.NoError(t, err)
	status, body := b.do("POST", "/v1/arrivals", structured, arrival("day", "flights", b.upload(string(raw))))
	require.Equal(t, http.StatusAccepted, status, body)
	c := parse[events.DataCommitted](t, b.AwaitType(events.TypeDataCommitted, 1))
	require.Greater(t, c.Rows, int64(10000))
	b.commit("its change", read(t, "change"))
	require.True(t, parse[events.ModelDeclared](t, b.AwaitType(events.TypeModelDeclared, 2)).TrainingChanged)
	require.Len(t, parse[events.CodeCommitted](t, b.AwaitType(events.TypeCodeCommitted, 2)).Views, 3)
}

// read are the files of a part of the example.
func read(t *testing.T, part string) map[string]string {
	t.Helper()
	files := map[string]string{}
	dir := os.DirFS(example + "/" + part)
	require.NoError(t, fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(dir, name)
		files[name] = string(raw)
		return err
	}))
	return files
}

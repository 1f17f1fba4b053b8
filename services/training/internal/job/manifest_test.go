package job_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/contracts"
	"github.com/freshet-io/freshet/services/training/internal/job"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

func whole() job.Manifest {
	return job.Manifest{
		Version: job.Version, Run: "r-1", Model: "late", Namespace: "default", Trigger: "code", Task: "binary-classification", Builtin: "logistic-regression",
		Code: &job.Code{Repository: "models", Revision: strings.Repeat("c", 40), Path: "/job/code"},
		Inputs: []job.Input{{Name: "ts-1", Split: "train", Rows: 10, Files: []job.File{{
			URI: "objects:" + strings.Repeat("a", 64), Digest: "sha256:" + strings.Repeat("a", 64), Size: 9, Path: "/job/inputs/train.parquet"}}}},
		Columns: []string{"a__b"}, Label: "label", Time: "date", Params: map[string]any{"l2": 0.1}, Seed: 7,
		Output: "/job/output", Checkpoint: "/kept", BaseModel: &job.BaseModel{Version: 3, Path: "/job/inputs/base.onnx"},
		Resources: job.Resources{CPU: 1, MemoryBytes: 1 << 30, TimeoutSeconds: 60, GraceSeconds: 10},
	}
}

func TestTheManifestIsItsContract(t *testing.T) {
	t.Parallel()
	f, err := contracts.FS.Open("job/v1/job.json")
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(f)
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("job.json", document))
	schema, err := c.Compile("job.json")
	require.NoError(t, err)
	b, err := json.Marshal(whole())
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	require.NoError(t, err)
	require.NoError(t, schema.Validate(value))

	// And nothing in it is unknown to the contract.
	fields, ok := value.(map[string]any)
	require.True(t, ok)
	known, ok := document.(map[string]any)["properties"].(map[string]any)
	require.True(t, ok)
	for name := range fields {
		require.Contains(t, known, name)
	}
	for name := range known {
		require.Contains(t, fields, name)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "job.json")
	b, err := json.Marshal(whole())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	t.Setenv(job.ManifestVariable, path)
	m, err := job.Read()
	require.NoError(t, err)
	require.Equal(t, whole(), *m)
	require.EqualValues(t, 10, m.Split("train").Rows)
	require.Nil(t, m.Split("test"))

	require.NoError(t, os.WriteFile(path, []byte(`{"version": 2}`), 0o600))
	_, err = job.Read()
	require.ErrorContains(t, err, "version 2")
	t.Setenv(job.ManifestVariable, "")
	_, err = job.Read()
	require.ErrorContains(t, err, "no training job")
}

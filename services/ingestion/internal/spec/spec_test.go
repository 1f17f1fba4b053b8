package spec_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/ingestion/internal/spec"
	"github.com/stretchr/testify/require"
)

func TestDefaultsAreFilledIn(t *testing.T) {
	t.Parallel()
	d := spec.Parse(map[string][]byte{"freshet.yaml": []byte(`dataset: d
keys: [id]
time: happened
---
view: now
features: {h: hour(happened)}
---
model: m
examples: {dataset: d, label: y > 0}
training: {command: [python, train.py]}
`)}, spec.Options{SQL: checker(t)})
	require.Empty(t, d.Problems)
	require.Equal(t, []events.DatasetSpec{{Dataset: "d", Keys: []string{"id"}, Time: "happened", Zone: "UTC", Rows: "quarantine",
		RejectCommitAbove: 0.05}}, d.Datasets)
	require.Len(t, d.Views, 1)
	m := d.Models[0]
	require.NoError(t, events.Validate(&m))
	require.Equal(t, "binary-classification", m.Task)
	require.Equal(t, []string{"auc", "log_loss"}, m.Metrics)
	require.Equal(t, events.Duration(24*time.Hour), m.Examples.Test)
	require.Equal(t, []string{"code", "drift", "quality"}, m.Retrain.When)
	require.Equal(t, "production", m.Environments[0].Environment)
	require.Equal(t, "approver", m.Environments[0].Approve)
	require.Equal(t, "act", m.Mode)
}

func TestTheWholeOfAFreshetYAML(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/whole.yaml")
	require.NoError(t, err)
	d := spec.Parse(map[string][]byte{"freshet.yaml": raw}, spec.Options{SQL: checker(t)})
	require.Empty(t, d.Problems)
	require.Len(t, d.Views, 2)
	ds, m := d.Datasets[0], d.Models[0]
	require.Equal(t, []events.KnownColumn{{Column: "delay", SQL: "date + to_minutes(greatest(delay, 0))"}}, ds.KnownAt)
	require.Equal(t, events.Duration(36*time.Hour), *ds.Freshness)
	require.InDelta(t, 0.05, ds.RejectCommitAbove, 0)
	require.Equal(t, []events.ViewUse{{View: "origin_delays"}, {View: "route_delays", Version: 2}}, m.Features)
	require.EqualValues(t, 4<<30, m.Training.MemoryBytes)
	require.Equal(t, map[string]string{"python": "3.12", "lock": "uv.lock"}, m.Training.Runtime)
	require.Equal(t, map[string]any{"l2": 0.01}, m.Training.Params)
	require.Equal(t, []events.Rule{{Name: "useful", CEL: "candidate.auc > naive.auc + 0.05"},
		{Name: "better", CEL: "champion == null || candidate.log_loss < champion.log_loss"}}, m.Gates)
	require.Equal(t, []int64{10, 50}, m.Environments[1].Rollout.Canary)
	require.EqualValues(t, 3, m.Retrain.DataCommits)
	require.Equal(t, []string{"code", "drift", "quality", "data", "schedule"}, m.Retrain.When)
	require.Equal(t, []string{"storm_days"}, m.Challenge)
	require.NoError(t, events.Validate(&m))
	require.NoError(t, events.Validate(&ds))
}

func TestTheSameBytesGiveTheSameAnswer(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/whole.yaml")
	require.NoError(t, err)
	first := spec.Parse(map[string][]byte{"freshet.yaml": raw}, spec.Options{})
	for range 20 {
		require.Equal(t, first, spec.Parse(map[string][]byte{"freshet.yaml": raw}, spec.Options{}))
	}
}

func TestReferencesAreStrictWhereTheNamespaceIsKnown(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{"freshet.yaml": []byte("model: m\nexamples: {dataset: trains, label: y}\nfeatures: [speed]\ntraining: {command: [x]}\n")}
	require.Empty(t, spec.Parse(files, spec.Options{}).Problems, "elsewhere there may be a repository that defines them")
	got := spec.Parse(files, spec.Options{Known: &spec.Known{}}).Problems
	require.Len(t, got, 2)
	require.Contains(t, got[0].Fix, "connect the repository that does")
	known := &spec.Known{Datasets: map[string]events.DatasetSpec{"trains": {}}, Views: map[string]events.ViewSpec{"speed": {View: "speed"}}}
	require.Empty(t, spec.Parse(files, spec.Options{Known: known}).Problems)
	known.Owners = map[string]string{"model m": "other"}
	require.Contains(t, spec.Parse(files, spec.Options{Known: known}).Problems[0].Message, "belongs to the repository other")
}

func TestFilesThatAreNotRead(t *testing.T) {
	t.Parallel()
	_, found, err := spec.Files(fstest.MapFS{"freshet.yaml": {Mode: os.ModeSymlink, Data: []byte("/etc/passwd")}, "README.md": {Data: []byte("x")}})
	require.NoError(t, err)
	require.Len(t, found, 1)
	got := spec.Parse(map[string][]byte{"datasets/a.yml": []byte("dataset: a\n"), "freshet.yaml": []byte("# nothing\n")}, spec.Options{}).Problems
	require.Len(t, got, 2)
	require.Contains(t, got[0].Fix, "datasets/a.yaml")
	require.Len(t, spec.Parse(nil, spec.Options{}).Problems, 1)
	twice := spec.Parse(map[string][]byte{"datasets/a.yaml": []byte("dataset: a\nkeys: [i]\ntime: t\n"),
		"datasets/b.yaml": []byte("dataset: a\nkeys: [i]\ntime: t\n")}, spec.Options{}).Problems
	require.Len(t, twice, 1)
	require.Contains(t, twice[0].Message, "datasets/a.yaml on line 1")
}

func FuzzParse(f *testing.F) {
	raw, err := os.ReadFile("testdata/whole.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(raw))
	f.Add("a: &a [*a]\n")
	f.Add("model: x\nexamples: *e\n")
	f.Add("model: &m m\ngates: {a: *m}\ntraining: {params: {x: [1, {y: null}]}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		d := spec.Parse(map[string][]byte{"freshet.yaml": []byte(text)}, spec.Options{})
		lines := int64(2) // YAML breaks lines at more than \n
		for _, r := range text {
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) {
				lines++
			}
		}
		for _, p := range d.Problems {
			if err := events.Validate(&p); err != nil || p.Line < 1 || p.Line > lines || p.Fix == "" || p.Message == "" {
				t.Fatalf("%+v: %v", p, err)
			}
		}
		if len(d.Problems) > 0 {
			return
		}
		for i := range d.Models {
			if err := events.Validate(&d.Models[i]); err != nil {
				t.Fatal(err)
			}
		}
	})
}

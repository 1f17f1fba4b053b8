package evidence

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/services/registry"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func object(c string) events.Object {
	d := "sha256:" + strings.Repeat(c, 64)
	return events.Object{Digest: d, URI: "objects:" + d, Size: 10}
}

// judged is a signed pack of a measured candidate and what was recorded of it; lie may
// change what is recorded. The registry of an honest suite never does that.
func judged(t require.TestingT, lie func(*events.CandidatePassed, *events.ModelVersionRegistered)) (map[string][]byte, transparency.Key) {
	return judgedOn(t, nil, lie)
}

// judgedOn may leave out or change a data commit.
func judgedOn(t require.TestingT, data func(*events.DataCommitted) bool,
	lie func(*events.CandidatePassed, *events.ModelVersionRegistered)) (map[string][]byte, transparency.Key) {
	at := time.Date(2001, 1, 7, 0, 0, 0, 0, time.UTC)
	monitor := events.MonitorSpec{Window: events.Duration(24 * time.Hour), PSI: 0.25}
	lineage := events.Lineage{Data: []events.DatasetCommit{{Dataset: "flights", Commit: object("2").Digest, Number: 2, Event: "e"}},
		Code:        events.CodeRevision{Repository: "flights", Revision: strings.Repeat("c", 40), Archive: object("d")},
		TrainingSet: object("5").Digest, Run: "run-1", Params: map[string]any{}, Environment: map[string]string{}, TrainedThrough: at}
	measured := events.CandidateMeasured{Run: "run-1", Model: "m", Request: "r", Trigger: "data", SpecDigest: object("4").Digest,
		Artifact: object("a"), Profile: object("b"), Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{}, Lineage: lineage, Rows: 16000,
		From: at, To: at.Add(time.Hour),
		Candidate: events.Measure{Metrics: map[string]float64{"auc": 0.66}}, Naive: events.Measure{Metrics: map[string]float64{"auc": 0.5}},
		Gates: []events.Rule{{Name: "useful", CEL: "candidate.auc > naive.auc + 0.05"}}, Environments: []events.EnvironmentSpec{}, Monitor: monitor,
		RequestFields: []events.TypedField{}, Prediction: []events.TypedField{}, Task: "binary-classification", Label: "late", ExamplesDataset: "flights",
		Mode: "act"}
	registered := events.ModelVersionRegistered{Model: "m", Version: 1, Run: "run-1", Artifact: object("a"), Profile: object("b"),
		Columns: []events.FeatureColumn{}, Uses: []events.FeatureUse{}, Lineage: lineage, Candidate: measured.Candidate, Naive: measured.Naive, Rows: 16000,
		From: at, To: at.Add(time.Hour),
		RequestFields: []events.TypedField{}, Prediction: []events.TypedField{}, Task: "binary-classification", Label: "late", ExamplesDataset: "flights",
		Monitor: monitor}
	results, ok, err := registry.Evaluate(measured)
	require.NoError(t, err)
	require.True(t, ok)
	passed := events.CandidatePassed{Model: "m", Version: 1, Gates: results}
	if lie != nil {
		lie(&passed, &registered)
	}
	const root = "0196a9f0-0000-7000-8000-000000000001"
	var all [][]byte
	for n := int64(1); n <= 2; n++ {
		c := events.DataCommitted{Dataset: "flights", Number: n, Commit: object(strconv.FormatInt(n, 10)).Digest, Manifest: object("1"),
			Profile: object("2"), Added: []events.DataFile{},
			Spec: events.DatasetSpec{Dataset: "flights", Keys: []string{"id"}, Time: "date", Zone: "local", Rows: "quarantine"}}
		if n > 1 {
			c.Parent = object("1").Digest
		}
		if data == nil || data(&c) {
			e, err := events.NewDataCommitted("default", "flights", c)
			require.NoError(t, err)
			all = append(all, place(t, e, "ingestion", int(n), fmt.Sprintf("0196a9f0-0000-7000-8000-00000000001%d", n), ""))
		}
	}
	e, err := events.NewCandidateMeasured("default", "m", measured)
	require.NoError(t, err)
	all = append(all, place(t, e, "training", 1, root, ""))
	e, err = events.NewModelVersionRegistered("default", "m", registered)
	require.NoError(t, err)
	all = append(all, place(t, e, "registry", 1, "0196a9f0-0000-7000-8000-000000000002", root))
	e, err = events.NewCandidatePassed("default", "m", passed)
	require.NoError(t, err)
	all = append(all, place(t, e, "registry", 2, "0196a9f0-0000-7000-8000-000000000003", root))

	key, err := transparency.NewKey("example.com/log")
	require.NoError(t, err)
	tree := transparency.NewTree()
	require.NoError(t, tree.Append(all...))
	size := int64(len(all))
	hash, err := tree.Root(size)
	require.NoError(t, err)
	p := transparency.Pack{About: []string{"namespace default", "model m", "version 1"}}
	p.Checkpoint, err = key.Checkpoint(size, hash)
	require.NoError(t, err)
	for i, b := range all {
		hashes, err := tree.Prove(int64(i), size)
		require.NoError(t, err)
		p.Records = append(p.Records, transparency.Record{Index: int64(i), Data: b, Hashes: hashes})
	}
	files, err := p.Files(key)
	require.NoError(t, err)
	return files, key
}

func TestAPackIsDecidedAgain(t *testing.T) {
	t.Parallel()
	files, key := judged(t, nil)
	p := VerifyPack(files, key.Public())
	require.Empty(t, p.Findings)
	require.True(t, p.Trusted)
	require.Len(t, p.Versions, 1)
	require.True(t, p.Versions[0].Passed)
	require.Equal(t, map[string]float64{"candidate.auc": 0.66, "naive.auc": 0.5}, p.Versions[0].Gates[0].Values)
	require.Equal(t, object("a").Digest, p.Versions[0].Artifact)
	require.False(t, VerifyPack(files).Trusted)

	// The same from a tar and from a directory.
	b, err := transparency.WriteTar(files)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "m.tar")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	dir := filepath.Join(t.TempDir(), "m")
	require.NoError(t, WriteDir(dir, files))
	for _, path := range []string{path, dir} {
		read, err := ReadPack(path)
		require.NoError(t, err)
		require.Equal(t, files, read)
	}
}

// A suite that signed a verdict which its own rules do not give is found out, although
// every signature and proof is good.
func TestALieThatWasSignedIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lie  func(*events.CandidatePassed, *events.ModelVersionRegistered)
		says string
	}{
		"a number that the gate did not see": {func(p *events.CandidatePassed, _ *events.ModelVersionRegistered) {
			p.Gates[0].Values["candidate.auc"] = 0.9
		}, "a gate of version 1 sees or says something else"},
		"a gate left out": {func(p *events.CandidatePassed, _ *events.ModelVersionRegistered) { p.Gates = p.Gates[:0] },
			"a gate of version 1 sees or says something else"},
		"another rule": {func(p *events.CandidatePassed, _ *events.ModelVersionRegistered) { p.Gates[0].CEL = "true" },
			"a gate of version 1 sees or says something else"},
		"another artifact": {func(_ *events.CandidatePassed, r *events.ModelVersionRegistered) { r.Artifact = object("f") }, "another artifact, run or training set"},
		"another version": {func(p *events.CandidatePassed, r *events.ModelVersionRegistered) {
			p.Version, r.Version = 2, 2
		}, "it is about namespace default, model m, version 1, and no verdict on that is in it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, key := judged(t, c.lie)
			p := VerifyPack(files, key.Public())
			require.Len(t, p.Findings, 1)
			require.Contains(t, p.Findings[0].What, c.says)
		})
	}
}

// A version's data commits are all there, back to the first, each the parent of the next.
func TestAPackHasTheDataOfItsVersion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data func(*events.DataCommitted) bool
		says string
	}{
		"the first is left out": {func(c *events.DataCommitted) bool { return c.Number != 1 },
			"data commit 1 of flights, which it was trained on, is not in the pack"},
		"the last is left out": {func(c *events.DataCommitted) bool { return c.Number != 2 },
			"data commit 2 of flights, which it was trained on, is not in the pack"},
		"another parent": {func(c *events.DataCommitted) bool { c.Parent = object("f").Digest; return true }, "data commit 1 of flights does not continue"},
		"another commit": {func(c *events.DataCommitted) bool {
			if c.Number == 2 {
				c.Commit = object("e").Digest
			}
			return true
		}, "and it was trained on " + object("2").Digest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, key := judgedOn(t, c.data, nil)
			p := VerifyPack(files, key.Public())
			require.Len(t, p.Findings, 1)
			require.Equal(t, "m v1", p.Findings[0].Where)
			require.Contains(t, p.Findings[0].What, c.says)
		})
	}
}

// One changed bit anywhere in a pack's tar is found.
func TestTamperingWithAPackIsFound(t *testing.T) {
	t.Parallel()
	files, key := judged(t, nil)
	good, err := transparency.WriteTar(files)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(good)
		b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		read, err := transparency.ReadTar(bytes.NewReader(b))
		if err == nil {
			require.NotEmpty(t, VerifyPack(read, key.Public()).Findings)
			require.NotEmpty(t, VerifyPack(read).Findings)
		}
	})
}

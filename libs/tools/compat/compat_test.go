package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const channels = "events:\n  io.freshet.mill.v1.grain_ground: {owner: mill, kind: fact}\n"

const schema = `{"type": "object", "required": ["sack"], "properties": {
  "sack": {"type": "string", "maxLength": 10},
  "kind": {"enum": ["rye", "wheat"]},
  "stones": {"type": "array", "items": {"type": "integer", "minimum": 0}}}}`

func set(t *testing.T, schema, channels string) *contractSet {
	t.Helper()
	s := newSet()
	require.NoError(t, s.add("mill/v1/grain_ground.json", []byte(schema)))
	require.NoError(t, s.add("channels.yaml", []byte(channels)))
	return s
}

func TestCompare(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		old, replacement string
		want             string // part of the break; none if empty
	}{
		"nothing":                {"", "", ""},
		"a description":          {`"type": "object"`, `"type": "object", "description": "flour"`, ""},
		"an optional field":      {`"kind":`, `"miller": {"type": "string"}, "kind":`, ""},
		"a required field":       {`["sack"]`, `["sack", "kind"]`, "requires kind"},
		"no longer required":     {`["sack"]`, `[]`, "no longer requires sack"},
		"a field gone":           {`"kind": {"enum": ["rye", "wheat"]},`, ``, "lost kind"},
		"another type":           {`"type": "string"`, `"type": "integer"`, "sack had type string and has integer"},
		"a shorter string":       {`10`, `9`, "tighter maxLength"},
		"a longer string":        {`10`, `11`, "looser maxLength"},
		"a new choice":           {`"rye"`, `"oats", "rye"`, "allows oats"},
		"a choice gone":          {`"rye", `, ``, "no longer allows rye"},
		"a bound inside a list":  {`"minimum": 0`, `"minimum": 1`, "stones.items has a tighter minimum"},
		"a bound gone in a list": {`, "minimum": 0`, ``, "stones.items has a looser minimum"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, schema, c.old)
			breaks := compare(set(t, schema, channels), set(t, strings.Replace(schema, c.old, c.replacement, 1), channels))
			if c.want == "" {
				require.Empty(t, breaks)
				return
			}
			require.Len(t, breaks, 1)
			require.Contains(t, breaks[0], c.want)
		})
	}
	t.Run("a type gone", func(t *testing.T) {
		t.Parallel()
		require.Len(t, compare(set(t, schema, channels), set(t, schema, "events: {}\n")), 1)
	})
	t.Run("a fact that becomes a decision", func(t *testing.T) {
		t.Parallel()
		require.Len(t, compare(set(t, schema, channels), set(t, schema, strings.Replace(channels, "fact", "decision", 1))), 1)
	})
	t.Run("a schema gone", func(t *testing.T) {
		t.Parallel()
		now := set(t, schema, channels)
		clear(now.schemas)
		require.Len(t, compare(set(t, schema, channels), now), 1)
	})
}

func TestFromGit(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "contracts", "mill", "v1")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "testdata", "grain_ground"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "grain_ground.json"), []byte(schema), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "testdata", "grain_ground", "valid-1.json"), []byte(`[]`), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "contracts", "channels.yaml"), []byte(channels), 0o644))
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "x"}} {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	old, err := fromGit(root, "HEAD")
	require.NoError(t, err)
	now, err := fromDir(os.DirFS(filepath.Join(root, "contracts")))
	require.NoError(t, err)
	require.Len(t, old.schemas, 1)
	require.Empty(t, compare(old, now))
	_, err = fromGit(root, "no-such-revision")
	require.Error(t, err)
}

package main

import (
	"os"
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

func write(t *testing.T, root, path, text string) {
	t.Helper()
	file := filepath.Join(root, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

func run(t *testing.T, root string, args ...string) string {
	t.Helper()
	out, err := git(root, args...)
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// commit commits everything and returns the commit.
func commit(t *testing.T, root string) string {
	t.Helper()
	run(t, root, "add", ".")
	run(t, root, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "x")
	return run(t, root, "rev-parse", "HEAD")
}

func TestFromGit(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, "contracts/mill/v1/grain_ground.json", schema)
	write(t, root, "contracts/mill/v1/testdata/grain_ground/valid-1.json", "[]")
	write(t, root, "contracts/channels.yaml", channels)
	run(t, root, "init", "-q")
	commit(t, root)
	old, err := fromGit(root, "HEAD")
	require.NoError(t, err)
	now, err := fromDir(os.DirFS(filepath.Join(root, "contracts")))
	require.NoError(t, err)
	require.Len(t, old.schemas, 1)
	require.Empty(t, compare(old, now))
	_, err = fromGit(root, "no-such-revision")
	require.Error(t, err)
}

func TestTheNewestReleaseBinds(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	run(t, root, "init", "-q")
	check := func(want ...base) {
		t.Helper()
		got, err := bases(root)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	commit(t, root)
	check()
	write(t, root, changelog, "# Changelog\n\n## [Unreleased]\n")
	commit(t, root)
	check()

	write(t, root, changelog, "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-11-30\n\nFirst.\n")
	check() // an entry counts when it is committed
	first := commit(t, root)
	check(base{first, "release 0.1.0"})
	write(t, root, changelog, "# Changelog\n\n## [Unreleased]\n\n- more\n\n## [0.1.0] - 2026-11-30\n\nThe first, see ## [0.1.0].\n")
	commit(t, root)
	check(base{first, "release 0.1.0"})

	write(t, root, changelog, "# Changelog\n\n## [0.2.0] - 2026-12-24\n\n## [0.1.0] - 2026-11-30\n")
	second := commit(t, root)
	// What the commit of a release changes is held against the one before.
	check(base{second, "release 0.2.0"}, base{first, "release 0.1.0"})
	later := commit(t, root)
	check(base{second, "release 0.2.0"})
	run(t, root, "tag", "v0.2.0", later)
	commit(t, root)
	check(base{later, "release 0.2.0"})
	run(t, root, "tag", "-d", "v0.2.0")

	clone := t.TempDir()
	run(t, clone, "clone", "-q", "--depth", "2", "file://"+root, ".")
	got, err := bases(clone)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, later, got[0].revision)
	require.Contains(t, got[0].name, "which lacks release 0.2.0")
	require.Contains(t, got[0].name, "git fetch --unshallow")
	run(t, clone, "fetch", "-q", "--unshallow")
	got, err = bases(clone)
	require.NoError(t, err)
	require.Equal(t, []base{{second, "release 0.2.0"}}, got)
}

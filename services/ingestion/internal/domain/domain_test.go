package domain

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALinkThatEscapesIsSeen(t *testing.T) {
	t.Parallel()
	for name, targets := range map[string][]string{
		"link":   {"..", "../x", "/etc", "a/../../x", "", "a/..", `..\x`},
		"a/link": {"../..", "../../etc", "x/../../..", "../x/.."},
	} {
		for _, target := range targets {
			require.True(t, Escapes(name, target), "%s -> %s", name, target)
		}
	}
	for name, targets := range map[string][]string{"link": {"x", "a/b", "./x"}, "a/b/link": {"../x", "../../x", "x", ".."}} {
		for _, target := range targets {
			require.False(t, Escapes(name, target), "%s -> %s", name, target)
		}
	}
}

func TestACommitIsNamedByWhatItIs(t *testing.T) {
	t.Parallel()
	name := func(dataset, parent, added, spec string) string {
		d, err := CommitDigest(dataset, parent, []string{added}, spec)
		require.NoError(t, err)
		return d
	}
	first := name("d", "", "f", "s")
	require.Equal(t, first, name("d", "", "f", "s"))
	for _, other := range []string{name("e", "", "f", "s"), name("d", first, "f", "s"), name("d", "", "g", "s"), name("d", "", "f", "t")} {
		require.NotEqual(t, first, other)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	good := Checked{Rows: 100, Accepted: 95, Quarantined: 5, Above: 0.05}
	require.Empty(t, Verdict(good), "as many as are allowed")
	for reason, change := range map[string]func(*Checked){
		TooManyFailures: func(c *Checked) { c.Quarantined, c.Accepted = 6, 94 },
		Duplicate:       func(c *Checked) { c.Duplicate = true },
		Empty:           func(c *Checked) { *c = Checked{} },
		Schema:          func(c *Checked) { c.Error = Schema },
		UnknownDataset:  func(c *Checked) { c.Error, c.Duplicate = UnknownDataset, true },
	} {
		c := good
		change(&c)
		require.Equal(t, reason, Verdict(c))
	}
	require.Equal(t, TooManyFailures, Verdict(Checked{Rows: 1, Quarantined: 1, Above: 1}), "nothing is left")
	require.Equal(t, TooManyFailures, Verdict(Checked{Rows: 1, Accepted: 1, Whole: true, Above: 1}))
}

func TestAnAddressIsWhatGitMaySee(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"/srv/repo", "/srv/repo.git/", "https://example.com/team/repo.git", "ssh://git@example.com:22/team/repo"} {
		require.NoError(t, CheckAddress(good, true), good)
	}
	require.Error(t, CheckAddress("/srv/repo", false))
	for _, bad := range []string{"-x", "ext::sh", "https://a@example.com/x", "ssh://a:b@example.com/x", "ssh://-oX=y/x", "https://example.com",
		"https://example.com/" + strings.Repeat("x", 2000)} {
		require.ErrorIs(t, CheckAddress(bad, true), ErrAddress, bad)
	}
}

func TestAFilesPlace(t *testing.T) {
	t.Parallel()
	hex := strings.Repeat("ab", 32)
	for uri, want := range map[string]Location{
		"objects:" + hex:                  {Kind: InObjects, Digest: "sha256:" + hex},
		"objects:sha256:" + hex:           {Kind: InObjects, Digest: "sha256:" + hex},
		"file:2001/day.csv":               {Kind: InInbox, Path: "2001/day.csv"},
		"file:///inbox/2001/day.csv":      {Kind: InInbox, Path: "2001/day.csv"},
		"file://localhost/inbox/day one.": {Kind: InInbox, Path: "day one."},
	} {
		got, err := Locate(uri, "", "/inbox")
		require.NoError(t, err, uri)
		require.Equal(t, want, got)
	}
	for _, uri := range []string{"file:../x", "file:/etc/passwd", "file:///inbox/../x", "file:///inboxes/x", "http://x/y", "x", "file:%2e%2e/x", "file:"} {
		_, err := Locate(uri, "", "/inbox")
		require.ErrorIs(t, err, ErrLocation, uri)
	}
	_, err := Locate("file:x", "", "")
	require.ErrorIs(t, err, ErrLocation)
	require.Equal(t, Parquet, FormatOf("", "x", []byte("PAR1...")))
	require.Equal(t, JSONL, FormatOf("", "x", []byte("\n{\"a\":1}")))
	require.Equal(t, CSV, FormatOf("", "x.CSV", []byte("{")))
}

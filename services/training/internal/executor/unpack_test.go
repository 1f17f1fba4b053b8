package executor_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/freshet-io/freshet/services/training/internal/executor"
	"github.com/stretchr/testify/require"
)

func pack(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		h.Mode = 0o755
		require.NoError(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte("code"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return &b
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	d := t.TempDir()
	require.NoError(t, executor.Unpack(pack(t, tar.Header{Name: "a/", Typeflag: tar.TypeDir}, tar.Header{Name: "a/train.sh", Typeflag: tar.TypeReg},
		tar.Header{Name: "link", Linkname: "a/train.sh", Typeflag: tar.TypeSymlink}), d, 1<<20))
	b, err := os.ReadFile(filepath.Join(d, "link"))
	require.NoError(t, err)
	require.Equal(t, "code", string(b))
	info, err := os.Stat(filepath.Join(d, "a", "train.sh"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o100, "still executable")
}

func TestUnpackWritesNowhereElse(t *testing.T) {
	t.Parallel()
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	for name, headers := range map[string][]tar.Header{
		"parent":        {reg("../evil")},
		"deep parent":   {reg("a/../../evil")},
		"absolute":      {reg("/evil")},
		"link out":      {link("x", "../..")},
		"link absolute": {link("x", "/etc")},
		"link in two":   {link("a", "."), link("a/b", ".."), reg("a/b/evil")},
		"over a link":   {link("x", "y"), reg("x")},
		"device":        {{Name: "null", Typeflag: tar.TypeChar}},
		"hard link":     {{Name: "h", Linkname: "/etc/passwd", Typeflag: tar.TypeLink}},
		"twice":         {reg("a"), reg("a")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outer := t.TempDir()
			inner := filepath.Join(outer, "in", "code")
			require.NoError(t, os.MkdirAll(inner, 0o700))
			require.ErrorIs(t, executor.Unpack(pack(t, headers...), inner, 1<<20), executor.ErrUnsafe)
			require.NoFileExists(t, filepath.Join(outer, "evil"))
			require.NoFileExists(t, filepath.Join(outer, "in", "evil"))
		})
	}
	require.ErrorIs(t, executor.Unpack(pack(t, reg("a"), reg("b")), t.TempDir(), 6), executor.ErrUnsafe, "too large")
	require.Error(t, executor.Unpack(bytes.NewReader([]byte("no archive at all, but long enough to be taken for one")), t.TempDir(), 1<<20))
}

package objects_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-io/freshet/libs/objects"
	"github.com/stretchr/testify/require"
	_ "gocloud.dev/blob/memblob"
)

func open(t *testing.T, location string) *objects.Store {
	t.Helper()
	s, err := objects.Open(t.Context(), location)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, location := range map[string]string{"directory": t.TempDir(), "bucket": "mem://"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s := open(t, location)
			for _, b := range [][]byte{{}, []byte("freshet"), bytes.Repeat([]byte("0123456789"), 1<<17)} {
				ref, err := s.PutBytes(ctx, b)
				require.NoError(t, err)
				require.EqualValues(t, len(b), ref.Size)

				got, err := s.Get(ctx, ref.Digest, ref.Size)
				require.NoError(t, err)
				require.True(t, bytes.Equal(b, got))

				path, err := s.File(ctx, ref.Digest)
				require.NoError(t, err)
				got, err = os.ReadFile(path)
				require.NoError(t, err)
				require.True(t, bytes.Equal(b, got))

				if len(b) > 0 {
					_, err = s.Get(ctx, ref.Digest, ref.Size-1)
					require.ErrorIs(t, err, objects.ErrTooLarge)
				}
			}
			_, err := s.Get(ctx, "sha256:"+strings.Repeat("0", 64), 1)
			require.ErrorIs(t, err, objects.ErrNotFound)
			for _, bad := range []string{"", "sha256:", "sha256:../../etc/passwd", "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("0", 63) + "/",
				strings.Repeat("0", 64), "sha512:" + strings.Repeat("0", 64)} {
				_, err = s.File(ctx, bad)
				require.ErrorIs(t, err, objects.ErrBadDigest)
			}
		})
	}
}

func TestAnObjectsPlaceStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const hex = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	place := filepath.Join(dir, "sha256", "2c", hex)
	require.NoError(t, os.MkdirAll(filepath.Dir(place), 0o755))
	require.NoError(t, os.WriteFile(place, []byte("hello"), 0o444))
	s := open(t, dir)
	b, err := s.Get(t.Context(), "sha256:"+hex, 5)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
	ref, err := s.PutBytes(t.Context(), []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, objects.Ref{Digest: "sha256:" + hex, Size: 5}, ref)
	path, err := s.File(t.Context(), ref.Digest)
	require.NoError(t, err)
	require.Equal(t, place, path)
}

func TestDamageIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := open(t, t.TempDir())
	ref, err := s.PutBytes(ctx, []byte("what was said"))
	require.NoError(t, err)
	path, err := s.File(ctx, ref.Digest)
	require.NoError(t, err)

	for _, damaged := range []string{"what was sbid", "what was", ""} {
		require.NoError(t, os.Chmod(path, 0o644))
		require.NoError(t, os.WriteFile(path, []byte(damaged), 0o644))
		_, err = s.Get(ctx, ref.Digest, 100)
		require.ErrorIs(t, err, objects.ErrCorrupt)
		_, err = s.File(ctx, ref.Digest)
		require.ErrorIs(t, err, objects.ErrCorrupt)
		r, err := s.Open(ctx, ref.Digest)
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, objects.ErrCorrupt)
		require.NoError(t, r.Close())
	}

	_, err = s.PutBytes(ctx, []byte("what was said"))
	require.NoError(t, err)
	_, err = s.Get(ctx, ref.Digest, 100)
	require.NoError(t, err)
}

func TestAFailedPutLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	broken := errors.New("the client is gone")
	_, err := s.Put(t.Context(), io.MultiReader(strings.NewReader("half"), failing{broken}))
	require.ErrorIs(t, err, broken)
	left, err := os.ReadDir(dir + "/tmp")
	require.NoError(t, err)
	require.Empty(t, left)
	left, err = os.ReadDir(dir + "/sha256")
	require.NoError(t, err)
	require.Empty(t, left)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestTwoUploadsOfOneDigestAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	b := bytes.Repeat([]byte("x"), 1<<20)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			ref, err := s.PutBytes(t.Context(), b)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Get(t.Context(), ref.Digest, ref.Size); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

package transparency_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func records(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"id":"%d"}`, i)
	}
	return out
}

func key(t require.TestingT) transparency.Key {
	k, err := transparency.NewKey("example.com/log")
	require.NoError(t, err)
	return k
}

func TestAFileAndMemoryAreTheSameTree(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hashes")
	file, err := transparency.OpenTree(path)
	require.NoError(t, err)
	memory := transparency.NewTree()
	all := records(300)
	for i := 0; i < len(all); {
		n := min(i%17+1, len(all)-i)
		require.NoError(t, file.Append(all[i:i+n]...))
		require.NoError(t, memory.Append(all[i:i+n]...))
		i += n
		if i%5 == 0 { // a restart, with half a write at the end
			require.NoError(t, file.Close())
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.Write(bytes.Repeat([]byte{7}, i%31))
			require.NoError(t, err)
			require.NoError(t, f.Close())
			file, err = transparency.OpenTree(path)
			require.NoError(t, err)
		}
	}
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	for size := int64(0); size <= 300; size++ {
		a, err := file.Root(size)
		require.NoError(t, err)
		b, err := memory.Root(size)
		require.NoError(t, err)
		require.Equal(t, a, b)
	}
	require.NoError(t, file.Truncate(200))
	require.EqualValues(t, 200, file.Size())
	require.NoError(t, file.Append(all[200:]...))
	a, err := file.Root(300)
	require.NoError(t, err)
	b, err := memory.Root(300)
	require.NoError(t, err)
	require.Equal(t, a, b)
	_, err = file.Root(301)
	require.Error(t, err)
}

// The hashing is RFC 6962's: its published values for the first leaves.
func TestKnownRoots(t *testing.T) {
	t.Parallel()
	tree := transparency.NewTree()
	require.NoError(t, tree.Append([]byte{}, []byte{0}, []byte{0x10}))
	for size, root := range map[int64]string{
		0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
	} {
		h, err := tree.Root(size)
		require.NoError(t, err)
		require.Equal(t, root, fmt.Sprintf("%x", h[:]))
	}
}

func TestADamagedFileGivesNoProof(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hashes")
	tree, err := transparency.OpenTree(path)
	require.NoError(t, err)
	require.NoError(t, tree.Append(records(64)...))
	require.NoError(t, tree.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[tlog.StoredHashIndex(1, 3)*tlog.HashSize] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o600))
	tree, err = transparency.OpenTree(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tree.Close()) })
	_, err = tree.Prove(5, 64)
	require.ErrorIs(t, err, transparency.ErrDamaged)
}

func TestTheKeysFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "key")
	one, err := transparency.LoadKey(path, "example.com/log")
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	two, err := transparency.LoadKey(path, "other")
	require.NoError(t, err)
	require.Equal(t, one.Public(), two.Public(), "made once")
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = transparency.LoadKey(path, "example.com/log")
	require.ErrorContains(t, err, "chmod 600")
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, []byte("nonsense"), 0o600))
	_, err = transparency.LoadKey(path, "example.com/log")
	require.ErrorContains(t, err, "not a signing key")
	_, err = transparency.LoadKey(filepath.Join(t.TempDir(), "key"), "two words")
	require.Error(t, err)
}

// One changed bit anywhere in a checkpoint, a proof or a public key is noticed.
func TestOneBitIsNoticed(t *testing.T) {
	t.Parallel()
	tree, all := transparency.NewTree(), records(97)
	require.NoError(t, tree.Append(all...))
	rapid.Check(t, func(t *rapid.T) {
		k := key(t)
		size := rapid.Int64Range(1, 97).Draw(t, "size")
		index := rapid.Int64Range(0, size-1).Draw(t, "index")
		root, err := tree.Root(size)
		require.NoError(t, err)
		checkpoint, err := k.Checkpoint(size, root)
		require.NoError(t, err)
		hashes, err := tree.Prove(index, size)
		require.NoError(t, err)
		good := transparency.Proof{Index: index, Record: all[index], Hashes: hashes, Checkpoint: checkpoint}.Format()
		check := func(b []byte, public string) error {
			p, err := transparency.ParseProof(b)
			if err != nil {
				return err
			}
			_, _, err = p.Check(p.Record, public)
			return err
		}
		require.NoError(t, check(good, k.Public()))
		flip := func(b []byte) []byte {
			b = slices.Clone(b)
			b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			return b
		}
		require.Error(t, check(flip(good), k.Public()))
		require.Error(t, check(good, string(flip([]byte(k.Public())))))
		require.Error(t, check(good, key(t).Public()), "somebody else's key")
		_, _, err = transparency.OpenCheckpoint(string(flip([]byte(checkpoint))), k.Public())
		require.Error(t, err)
	})
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	tree := transparency.NewTree()
	require.NoError(t, tree.Append(records(50)...))
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 50).Draw(t, "size")
		old := rapid.Int64Range(1, size).Draw(t, "old")
		at := func(n int64) transparency.Checkpoint {
			root, err := tree.Root(n)
			require.NoError(t, err)
			return transparency.Checkpoint{Size: n, Root: root}
		}
		p, err := tree.ProveGrowth(old, size)
		require.NoError(t, err)
		require.NoError(t, transparency.CheckGrowth(at(old), at(size), p))
		other := at(old)
		other.Root[3] ^= 1
		require.Error(t, transparency.CheckGrowth(other, at(size), p))
	})
}

func pack(t require.TestingT, k transparency.Key) map[string][]byte {
	tree, all := transparency.NewTree(), records(40)
	require.NoError(t, tree.Append(all...))
	root, err := tree.Root(39)
	require.NoError(t, err)
	checkpoint, err := k.Checkpoint(39, root)
	require.NoError(t, err)
	p := transparency.Pack{About: []string{"model flight-delays"}, Checkpoint: checkpoint}
	for _, i := range []int64{0, 3, 17, 38} {
		hashes, err := tree.Prove(i, 39)
		require.NoError(t, err)
		p.Records = append(p.Records, transparency.Record{Index: i, Data: all[i], Hashes: hashes})
	}
	files, err := p.Files(k)
	require.NoError(t, err)
	return files
}

func TestPacks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k := key(t)
		files := pack(t, k)
		p, c, signer, err := transparency.OpenPack(files, key(t).Public(), k.Public())
		require.NoError(t, err)
		require.Equal(t, k.Public(), signer)
		require.EqualValues(t, 39, c.Size)
		require.Len(t, p.Records, 4)
		require.Equal(t, []string{"model flight-delays"}, p.About)
		names := make([]string, 0, len(files))
		for name := range files {
			names = append(names, name)
		}
		slices.Sort(names)
		name := rapid.SampledFrom(names).Draw(t, "file")
		switch rapid.SampledFrom([]string{"flip", "drop", "add", "swap"}).Draw(t, "how") {
		case "flip":
			b := slices.Clone(files[name])
			b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			files[name] = b
		case "drop":
			delete(files, name)
		case "add":
			files["records/00000000000000000008.json"] = []byte(`{"id":"7"}`)
		case "swap":
			other := rapid.SampledFrom(names).Filter(func(o string) bool { return o != name && !bytes.Equal(files[o], files[name]) }).Draw(t, "other")
			files[name], files[other] = files[other], files[name]
		}
		_, _, _, err = transparency.OpenPack(files, k.Public())
		require.Error(t, err)
	})
}

// A pack that somebody else made whole is refused by who knows the key.
func TestAPackOfAnotherSigner(t *testing.T) {
	t.Parallel()
	k, forger := key(t), key(t)
	files := pack(t, forger)
	_, _, _, err := transparency.OpenPack(files, k.Public())
	require.ErrorIs(t, err, transparency.ErrUnsigned)
	own, err := transparency.PackKey(files)
	require.NoError(t, err)
	require.Equal(t, forger.Public(), own)
	// A checkpoint's signature does not make a statement, nor the other way round.
	files = pack(t, k)
	files["statement"] = files["checkpoint"]
	_, _, _, err = transparency.OpenPack(files, k.Public())
	require.ErrorContains(t, err, "not a pack's")
	_, _, err = transparency.OpenCheckpoint(string(pack(t, k)["statement"]), k.Public())
	require.ErrorContains(t, err, "not a checkpoint")
	require.True(t, strings.HasPrefix(k.ID(), "example.com/log+"))
}

// A pack's tar is one that every tar reads to its end, and no other spelling is taken
// for it: without the blocks of zeros that end it, or with anything behind them.
func TestAPacksTarIsWhole(t *testing.T) {
	t.Parallel()
	files := map[string][]byte{"statement": []byte("a statement\n"), "records/1.json": []byte(`{"id":"1"}`)}
	b, err := transparency.WriteTar(files)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 1024), b[len(b)-1024:], "a tar ends with two blocks of zeros")
	read, in := map[string][]byte{}, tar.NewReader(bytes.NewReader(b))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		read[h.Name], err = io.ReadAll(in)
		require.NoError(t, err)
	}
	require.Equal(t, files, read)
	again, err := transparency.ReadTar(bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, files, again)
	for name, other := range map[string][]byte{"without its end": b[:len(b)-1024], "with half of it": b[:len(b)-512],
		"with more": append(bytes.Clone(b), make([]byte, 512)...)} {
		_, err := transparency.ReadTar(bytes.NewReader(other))
		require.ErrorContains(t, err, "not written as a suite writes it", name)
	}

	system, err := exec.LookPath("tar")
	if err != nil {
		return // archive/tar has read it
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "pack.tar")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	out, err := exec.CommandContext(t.Context(), system, "-x", "-f", path, "-C", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out), "tar has nothing to complain about")
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

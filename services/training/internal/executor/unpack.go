package executor

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Bounds of an archive of code.
const (
	maxFiles = 100_000
	maxDepth = 64
)

// ErrUnsafe is wrapped by refusals of archives that would write elsewhere, or too much.
var ErrUnsafe = errors.New("the code archive is not safe to unpack")

// Unpack unpacks a tar archive, gzipped or not, below a directory. Nothing is
// written outside of it: absolute paths, parent paths and links that leave it are
// refused, and so is anything but files, directories and links.
func Unpack(r io.Reader, directory string, maxBytes int64) error {
	root, err := os.OpenRoot(directory)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	buffered := bufio.NewReader(r)
	r = buffered
	if magic, err := buffered.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		defer func() { _ = z.Close() }()
		r = z
	}
	// The bound is on what comes out, so that a small bomb is one too.
	archive := tar.NewReader(io.LimitReader(r, maxBytes+maxFiles*1024))
	left := maxBytes
	for files := 0; ; files++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("code archive: %w", err)
		}
		if files == maxFiles {
			return fmt.Errorf("%w: more than %d files", ErrUnsafe, maxFiles)
		}
		written, err := unpackOne(root, archive, h, left)
		if err != nil {
			return err
		}
		left -= written
	}
}

func unpackOne(root *os.Root, r io.Reader, h *tar.Header, left int64) (int64, error) {
	name := path.Clean(strings.TrimSuffix(h.Name, "/"))
	if !filepath.IsLocal(name) || strings.Count(name, "/") > maxDepth {
		return 0, fmt.Errorf("%w: path %q", ErrUnsafe, h.Name)
	}
	if parent := path.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o700); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrUnsafe, err)
		}
	}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return 0, nil
	case tar.TypeDir:
		return 0, root.MkdirAll(name, 0o700)
	case tar.TypeSymlink:
		if path.IsAbs(h.Linkname) || !filepath.IsLocal(path.Join(path.Dir(name), h.Linkname)) {
			return 0, fmt.Errorf("%w: link %q to %q", ErrUnsafe, h.Name, h.Linkname)
		}
		return 0, root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		if h.Size > left {
			return 0, fmt.Errorf("%w: too large", ErrUnsafe)
		}
		mode := os.FileMode(0o600)
		if h.Mode&0o100 != 0 {
			mode = 0o700
		}
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrUnsafe, err)
		}
		n, err := io.Copy(f, io.LimitReader(r, h.Size))
		return n, errors.Join(err, f.Close())
	default:
		return 0, fmt.Errorf("%w: %q is of type %q", ErrUnsafe, h.Name, h.Typeflag)
	}
}

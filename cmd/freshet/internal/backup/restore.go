package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/postgres"
	"golang.org/x/sync/errgroup"
)

// Check reads a whole backup and compares every digest.
func Check(ctx context.Context, dir string) (*Manifest, error) {
	m, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if err := m.each(ctx, func(f File) error { return f.from(dir, io.Discard) }); err != nil {
		return nil, err
	}
	return m, nil
}

// Foreign are files and links beside those of a backup that its manifest does not name,
// in order. A restore leaves them where they are.
func (m *Manifest) Foreign(dir string) ([]string, error) {
	known := map[string]bool{}
	for _, path := range m.paths() {
		known[path] = true
	}
	var foreign []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if rest, ok := strings.CutPrefix(name, dataName+"/"); name != manifestName && name != digestName && (!ok || !known[rest]) {
			foreign = append(foreign, name)
		}
		return nil
	})
	return foreign, err
}

// Restore brings a backup back in dataDir, which must be absent or empty.
func Restore(ctx context.Context, dir, dataDir string) (_ *Manifest, err error) {
	m, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if err := m.complete(dir); err != nil {
		return nil, err
	}
	if dataDir, err = filepath.Abs(dataDir); err != nil {
		return nil, err
	}
	if err := empty(dataDir); err != nil {
		return nil, err
	}
	existed := true
	if _, err := os.Stat(dataDir); err != nil {
		existed = false
	}
	lock, err := suite.Lock(dataDir)
	if err != nil {
		return nil, err
	}
	home := ""
	defer func() {
		if err != nil {
			err = errors.Join(err, clearAway(dataDir, existed))
			if home != "" {
				err = errors.Join(err, os.RemoveAll(home)) // where it is behind a link
			}
		}
		err = errors.Join(err, lock.Close())
	}()
	mark := filepath.Join(dataDir, suite.Restoring)
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return nil, err
	}
	// Where PostgreSQL's user can reach it: not always in the data directory.
	if home, err = postgres.Home(dataDir); err != nil {
		return nil, err
	}
	if err := m.lay(ctx, dir, dataDir, home); err != nil {
		return nil, err
	}
	syscall.Sync()
	if err := os.Remove(mark); err != nil {
		return nil, err
	}
	return m, nil
}

// lay writes everything below the data directory and PostgreSQL's, and nowhere else.
func (m *Manifest) lay(ctx context.Context, dir, dataDir, home string) error {
	data, err := os.OpenRoot(dataDir)
	if err != nil {
		return err
	}
	defer data.Close()
	pg, err := os.OpenRoot(home)
	if err != nil {
		return err
	}
	defer pg.Close()
	at := func(path string) (*os.Root, string) {
		if rest, ok := strings.CutPrefix(path, "postgres/"); ok {
			return pg, rest
		}
		return data, path
	}
	for _, d := range m.Directories {
		if d.Path == "postgres" {
			continue
		}
		root, path := at(d.Path)
		if err := root.MkdirAll(path, 0o700); err != nil {
			return err
		}
	}
	err = m.each(ctx, func(f File) error {
		root, path := at(f.Path)
		out, err := root.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return errors.Join(f.from(dir, out), out.Chmod(f.Mode), out.Close())
	})
	if err != nil {
		return err
	}
	for _, l := range m.Links {
		root, path := at(l.Path)
		if err := root.Symlink(l.Target, path); err != nil {
			return err
		}
	}
	// Modes last, the deepest first: one that cannot be written to may be among them.
	for i := len(m.Directories) - 1; i >= 0; i-- {
		d := m.Directories[i]
		if d.Path == "postgres" {
			continue
		}
		root, path := at(d.Path)
		if err := root.Chmod(path, d.Mode); err != nil {
			return err
		}
	}
	return nil
}

// complete finds what is missing or of another size, before anything is written.
func (m *Manifest) complete(dir string) error {
	for _, f := range m.Files {
		info, err := os.Lstat(filepath.Join(dir, dataName, f.Path))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("the backup is damaged: %s is missing", f.Path)
		case err != nil:
			return err
		case !info.Mode().IsRegular() || info.Size() != f.Size:
			return fmt.Errorf("the backup is damaged: %s has %d bytes, and had %d", f.Path, info.Size(), f.Size)
		}
	}
	return nil
}

func (m *Manifest) each(ctx context.Context, do func(File) error) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(copies)
	for _, f := range m.Files {
		work.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return do(f)
		})
	}
	return work.Wait()
}

// from copies a file out of a backup and compares it with its digest.
func (f File) from(dir string, to io.Writer) error {
	in, err := os.Open(filepath.Join(dir, dataName, f.Path))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the backup is damaged: %s is missing", f.Path)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), in)
	if err != nil {
		return fmt.Errorf("copying %s: %w", f.Path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 || n != f.Size {
		return fmt.Errorf("the backup is damaged: %s is not what was backed up (%d bytes with SHA-256 %s, recorded were %d with %s)", f.Path, n, got,
			f.Size, f.SHA256)
	}
	return nil
}

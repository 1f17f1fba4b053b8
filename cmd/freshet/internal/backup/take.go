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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/postgres"
	"golang.org/x/sync/errgroup"
)

// copies run at once.
const copies = 8

// left are paths that a start makes anew, relative to the data directory.
var left = []string{"lock", "tmp", "env", "postgres/run", "postgres/postgres.log", "postgres/data/postmaster.pid", "postgres/data/postmaster.opts"}

// Take copies the installation in dataDir to dir, which must be absent or empty.
func Take(ctx context.Context, dataDir, dir, version string, now time.Time) (_ *Manifest, err error) {
	dataDir, err = filepath.Abs(dataDir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dataDir, "nats")); err != nil {
		return nil, fmt.Errorf("there is no installation in %s: name it with --data-dir", dataDir)
	}
	if rel, err := filepath.Rel(dataDir, dir); err == nil && filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%s is in the installation that it would hold: choose another place", dir)
	}
	home := filepath.Join(dataDir, "postgres")
	if _, err := os.Stat(filepath.Join(home, "initialised")); err != nil {
		return nil, fmt.Errorf("the PostgreSQL of %s is elsewhere (FRESHET_POSTGRES_URL): with the suite stopped, back up that server by its own means, "+
			"and the directory %s with it", dataDir, dataDir)
	}
	if err := empty(dir); err != nil {
		return nil, err
	}
	lock, err := suite.Lock(dataDir)
	if err != nil {
		return nil, fmt.Errorf("a backup is taken of a suite that is stopped: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if pid := postgres.Left(dataDir); pid > 0 {
		return nil, fmt.Errorf("PostgreSQL (process %d) was left running on %s by a suite that was killed: start the suite once and stop it, "+
			"then take the backup", pid, dataDir)
	}
	existed := true
	if _, err := os.Stat(dir); err != nil {
		existed = false
	}
	if err := os.MkdirAll(filepath.Join(dir, dataName), 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clearAway(dir, existed))
		}
	}()
	m := &Manifest{Format: Format, Freshet: version, Made: now.UTC(), From: dataDir}
	if err := m.list(dataDir); err != nil {
		return nil, err
	}
	for _, d := range m.Directories {
		if err := os.MkdirAll(filepath.Join(dir, dataName, d.Path), 0o700); err != nil {
			return nil, err
		}
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(copies)
	for i := range m.Files {
		f := &m.Files[i]
		work.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f.copyTo(filepath.Join(dataDir, f.Path), filepath.Join(dir, dataName, f.Path))
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	syscall.Sync()
	if err := m.write(dir); err != nil {
		return nil, err
	}
	return m, nil
}

// empty refuses a directory with something in it.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty (it has %s): name a new directory", dir, entries[0].Name())
	}
	return nil
}

// clearAway removes what was written; the directory itself too, if it was ours.
func clearAway(dir string, existed bool) error {
	if !existed {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// list notes everything that is to be copied. PostgreSQL's files may be behind a
// link, which is followed; no other is.
func (m *Manifest) list(dataDir string) error {
	if err := m.walk(dataDir, "."); err != nil {
		return err
	}
	by := func(a, b string) int { return strings.Compare(a, b) }
	slices.SortFunc(m.Directories, func(a, b Directory) int { return by(a.Path, b.Path) })
	slices.SortFunc(m.Files, func(a, b File) int { return by(a.Path, b.Path) })
	slices.SortFunc(m.Links, func(a, b Link) int { return by(a.Path, b.Path) })
	return nil
}

// walk notes what is in a directory, which is called name in the installation.
func (m *Manifest) walk(top, name string) error {
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		if rel == "." {
			return nil
		}
		rel = filepath.ToSlash(filepath.Join(name, rel))
		if slices.Contains(left, rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			m.Directories = append(m.Directories, Directory{Path: rel, Mode: info.Mode().Perm()})
		case info.Mode().IsRegular():
			m.Files = append(m.Files, File{Path: rel, Mode: info.Mode().Perm(), Size: info.Size()})
		case info.Mode()&fs.ModeSymlink != 0 && rel == "postgres":
			home, err := filepath.EvalSymlinks(path)
			if err != nil {
				return err
			}
			m.Directories = append(m.Directories, Directory{Path: rel, Mode: 0o755})
			return m.walk(home, rel)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			m.Links = append(m.Links, Link{Path: rel, Target: target})
		default:
			return fmt.Errorf("%s is neither a file, a directory nor a link", path)
		}
		return nil
	})
}

// copyTo copies a file and notes what it is.
func (f *File) copyTo(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), in)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	f.Size, f.SHA256 = n, hex.EncodeToString(sum.Sum(nil))
	return nil
}

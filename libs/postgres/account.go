//go:build unix

package postgres

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An account is who runs the server: nil for this process' own user.
type account struct {
	uid, gid uint32
	name     string
}

// runAs returns the account to run the server under.
func runAs() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil means this process' own user
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil || uid == 0 {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &account{uint32(uid), uint32(gid), name}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and this machine has no user postgres or nobody to run it as: " +
		"add one (useradd --system postgres), start freshet as another user, or set FRESHET_POSTGRES_URL")
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// own gives a path to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// ownAll gives a tree to the account, if its top is somebody else's.
func (a *account) ownAll(dir string) error {
	if a == nil {
		return nil
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == a.uid {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(a.uid), int(a.gid))
	})
}

// reaches says whether the account can enter a directory.
func (a *account) reaches(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return false
		}
		mode := info.Mode().Perm()
		switch {
		case st.Uid == a.uid:
			mode >>= 6
		case st.Gid == a.gid:
			mode >>= 3
		}
		if mode&1 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

// home returns the directory for the server's files: in the data directory, or,
// where the account cannot reach that, elsewhere with a link in the data directory.
func (a *account) home(dataDir string) (string, error) {
	link := filepath.Join(dataDir, "postgres")
	if real, err := filepath.EvalSymlinks(link); err == nil {
		return real, nil
	}
	if _, err := os.Lstat(link); err == nil { // it leads nowhere: what it led to is gone
		return "", fmt.Errorf("%s is a link to PostgreSQL's files, which are gone: restore them, or remove the data directory", link)
	}
	if a != nil {
		// The data directory is ours to open; what is above it is not.
		if info, err := os.Stat(dataDir); err == nil && info.Mode().Perm()&1 == 0 {
			if err := os.Chmod(dataDir, info.Mode().Perm()|0o011); err != nil {
				return "", err
			}
		}
	}
	if a == nil || a.reaches(dataDir) {
		if err := os.Mkdir(link, 0o755); err != nil {
			return "", err
		}
		return filepath.EvalSymlinks(link)
	}
	for _, base := range []string{"/var/lib/freshet", "/var/tmp/freshet"} {
		if err := os.MkdirAll(base, 0o755); err != nil || !a.reaches(base) {
			continue
		}
		dir := filepath.Join(base, "postgres-"+rand.Text()[:12])
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		return dir, os.Symlink(dir, link)
	}
	return "", fmt.Errorf("PostgreSQL runs as %s, who can enter neither %s nor a directory in /var/lib: use another --data-dir", a.name, dataDir)
}

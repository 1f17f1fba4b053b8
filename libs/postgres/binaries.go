package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// oldest is the oldest major version that is used.
const oldest = 15

// fetched is the version that is fetched where none is found.
const fetched = embedded.V17

// ErrNotFound means that no PostgreSQL could be found or fetched.
var ErrNotFound = errors.New("no PostgreSQL was found and none could be fetched: install PostgreSQL 15 or newer " +
	"(Debian and Ubuntu: apt-get install postgresql; macOS: brew install postgresql@17), " +
	"or set FRESHET_POSTGRES_URL to a running one")

// usual are the places where packages put PostgreSQL's programs.
var usual = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/local/pgsql/bin",
	"/usr/pgsql-*/bin",
	"/usr/libexec/postgresql*",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/Library/PostgreSQL/*/bin",
	"/opt/local/lib/postgresql*/bin",
}

// binaries returns the directory with initdb and postgres, fetching them if the
// machine has none. Want is the major version of existing data, or 0.
func binaries(ctx context.Context, logger *slog.Logger, want int) (dir string, err error) {
	best, version := "", 0
	for _, d := range candidates() {
		v := versionOf(ctx, d)
		if v < oldest || (want != 0 && v != want) {
			continue
		}
		if v > version {
			best, version = d, v
		}
	}
	if best != "" {
		return best, nil
	}
	dir, err = fetch(ctx, logger)
	if err != nil {
		return "", err
	}
	if v := versionOf(ctx, dir); want != 0 && v != want {
		return "", fmt.Errorf("the data directory was made by PostgreSQL %d, which this machine no longer has: install PostgreSQL %d", want, want)
	}
	return dir, nil
}

func candidates() []string {
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	for _, pattern := range usual {
		found, err := filepath.Glob(pattern)
		if err != nil {
			continue // a fixed pattern that is malformed matches nothing
		}
		dirs = append(dirs, found...)
	}
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	return slices.DeleteFunc(dirs, func(d string) bool { return !executable(d, "initdb") || !executable(d, "postgres") })
}

func executable(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func versionOf(ctx context.Context, dir string) int {
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0
	}
	v, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return v
}

// fetch brings PostgreSQL's programs into the user's cache, once.
func fetch(ctx context.Context, logger *slog.Logger) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	root := filepath.Join(cache, "postgresql-"+string(fetched)+"-"+runtime.GOOS+"-"+runtime.GOARCH)
	bin := filepath.Join(root, "bin")
	if executable(bin, "initdb") && executable(bin, "postgres") {
		return bin, nil
	}
	logger.Info("no PostgreSQL on this machine: fetching one", "version", string(fetched), "to", root)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // scratch
	port, err := freePort()
	if err != nil {
		return "", fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	extracted := filepath.Join(work, "extracted")
	server := embedded.NewDatabase(embedded.DefaultConfig().
		Version(fetched).CachePath(work).RuntimePath(filepath.Join(work, "run")).BinariesPath(extracted).
		DataPath(filepath.Join(work, "data")).Port(port).Logger(io.Discard).StartTimeout(30 * time.Second))
	done := make(chan error, 1)
	go func() {
		// The library has no way to fetch alone: it starts a server as well, which
		// is stopped at once. As root that start fails, after the fetch.
		err := server.Start()
		if err == nil {
			err = server.Stop()
		}
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if !executable(filepath.Join(extracted, "bin"), "initdb") || !executable(filepath.Join(extracted, "bin"), "postgres") {
		return "", fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	if err := os.Rename(extracted, root); err != nil && !executable(bin, "postgres") {
		return "", fmt.Errorf("%w (%w)", ErrNotFound, err)
	}
	return bin, nil
}

// cacheDir is where fetched programs are kept. Root's own cache is closed to the
// user that runs the server.
func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/freshet", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "freshet"), err
}

func freePort() (uint32, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		return 0, err
	}
	if !ok {
		return 0, errors.New("no free port")
	}
	return uint32(addr.Port), nil //nolint:gosec // a port
}

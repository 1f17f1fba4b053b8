//go:build unix

package testkit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A test process that finds no server starts itself again in this role. The
// server's process ends, and removes its files, when no test process is left.
const serverRole = "FRESHET_TESTKIT_SERVER"

const (
	idleFor     = 3 * time.Second
	serverReady = 90 * time.Second
)

func init() {
	dir := os.Getenv(serverRole)
	if dir == "" {
		return
	}
	if err := serve(dir); err != nil {
		_ = os.WriteFile(filepath.Join(dir, "error"), []byte(err.Error()), 0o600)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs the machine's test server until nobody uses it.
func serve(dir string) error {
	ctx := context.Background()
	s, err := postgres.Start(ctx, postgres.Options{DataDir: dir, Settings: []string{
		"fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300", "max_wal_size=4GB",
	}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "url.new"), []byte(s.URL()), 0o600); err != nil {
		return errors.Join(err, s.Stop(ctx))
	}
	if err := os.Rename(filepath.Join(dir, "url.new"), filepath.Join(dir, "url")); err != nil {
		return errors.Join(err, s.Stop(ctx))
	}
	idle := 0
	for {
		time.Sleep(idleFor / 3)
		if idle++; inUse(dir) {
			idle = 0
		}
		if idle < 3 {
			continue
		}
		starting, err := lock(filepath.Join(dir, "start"), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil {
			idle = 0
			continue
		}
		if inUse(dir) {
			idle = 0
			_ = starting.Close() // releases the lock
			continue
		}
		// New processes wait for the lock on start, which goes with the directory's
		// content but keeps its file.
		err = errors.Join(os.Remove(filepath.Join(dir, "url")), s.Stop(ctx))
		link := filepath.Join(dir, "postgres")
		if real, linkErr := filepath.EvalSymlinks(link); linkErr == nil {
			err = errors.Join(err, os.RemoveAll(real), os.RemoveAll(link))
		}
		return errors.Join(err, starting.Close())
	}
}

func inUse(dir string) bool {
	f, err := lock(filepath.Join(dir, "users"), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return true
	}
	_ = f.Close() // releases the lock
	return false
}

func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// shared is this process' use of the machine's test server.
var shared = sync.OnceValues(func() (use, error) {
	if given := os.Getenv("FRESHET_POSTGRES_URL"); given != "" {
		return use{url: given}, nil
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("freshet-testkit-%d", os.Geteuid()))
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return use{}, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return use{}, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() {
		return use{}, fmt.Errorf("%s is not a directory of this user's", dir)
	}
	starting, err := lock(filepath.Join(dir, "start"), syscall.LOCK_EX)
	if err != nil {
		return use{}, err
	}
	defer starting.Close() //nolint:errcheck // releases the lock
	// Held until this process ends; the kernel releases it.
	held, err := lock(filepath.Join(dir, "users"), syscall.LOCK_SH)
	if err != nil {
		return use{}, err
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "url")); err == nil && answers(string(raw)) {
		return use{string(raw), held}, nil
	}
	raw, err := launch(dir)
	return use{raw, held}, err
})

// use is a process' use of a test server.
type use struct {
	url  string
	held *os.File // locked as long as it is open
}

func launch(dir string) (string, error) {
	for _, name := range []string{"url", "error"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serverRole+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	if err := cmd.Process.Release(); err != nil {
		return "", err
	}
	for began := time.Now(); time.Since(began) < serverReady; time.Sleep(10 * time.Millisecond) {
		if raw, err := os.ReadFile(filepath.Join(dir, "url")); err == nil {
			return string(raw), nil
		}
		if msg, err := os.ReadFile(filepath.Join(dir, "error")); err == nil {
			return "", fmt.Errorf("the test server: %s", msg)
		}
	}
	return "", fmt.Errorf("the test server in %s is not ready", dir)
}

func answers(raw string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, raw)
	return err == nil && conn.Close(ctx) == nil
}

// PostgresURL returns the connection string of an empty database of the test's own.
func PostgresURL(t testing.TB) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	name := "t_" + strings.ToLower(rand.Text()[:16])
	admin(t, server.url, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { admin(t, server.url, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u, err := url.Parse(server.url)
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

func admin(t testing.TB, server, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	_, err = conn.Exec(ctx, sql)
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		t.Fatalf("PostgreSQL for tests: %s: %v", sql, err)
	}
}

// Postgres returns a pool of an empty database of the test's own.
func Postgres(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), PostgresURL(t))
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

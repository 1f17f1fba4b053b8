//go:build unix

package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	role         = "freshet"
	startTimeout = 60 * time.Second // crash recovery may take long
	stopFast     = 10 * time.Second
	stopAtOnce   = 3 * time.Second
)

// Options of a server.
type Options struct {
	DataDir string // exists
	URL     string // of a running server, which is then used instead
	Logger  *slog.Logger

	// Settings are added to the server's own, as "name=value"; a test's server
	// does without fsync.
	Settings []string
}

// Server is a running PostgreSQL.
type Server struct {
	url    string
	logger *slog.Logger

	home, bin string
	account   *account
	settings  []string
	external  bool

	mu       sync.Mutex
	pid      int
	exited   chan struct{} // of the process with pid
	stopping bool
	watched  chan struct{} // closed when the watch has ended
}

// Start starts the data directory's server, or checks the one at Options.URL.
func Start(ctx context.Context, o Options) (*Server, error) {
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if o.URL != "" {
		return external(ctx, o.URL, logger)
	}
	acc, err := runAs()
	if err != nil {
		return nil, err
	}
	home, err := acc.home(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL's files: %w", err)
	}
	s := &Server{logger: logger, home: home, account: acc, settings: o.Settings}
	synced, err := s.prepare(ctx)
	if err != nil {
		return nil, err
	}
	if !s.adopt(ctx) {
		if err := s.launch(); err != nil {
			return nil, err
		}
	}
	err = s.ready(ctx)
	if syncErr := <-synced; err == nil && syncErr != nil {
		err = syncErr
	}
	s.watched = make(chan struct{})
	go s.watch()
	if err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// URL is the server's connection string, password included.
func (s *Server) URL() string { return s.url }

// PID is the postmaster's process, 0 for a server that was given.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

func external(ctx context.Context, url string, logger *slog.Logger) (*Server, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("FRESHET_POSTGRES_URL names a PostgreSQL that does not answer: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read from
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int / 10000").Scan(&version); err != nil {
		return nil, fmt.Errorf("asking PostgreSQL's version: %w", err)
	}
	if version < oldest {
		return nil, fmt.Errorf("FRESHET_POSTGRES_URL names PostgreSQL %d: version %d or newer is needed", version, oldest)
	}
	return &Server{url: url, logger: logger, external: true}, nil
}

func (s *Server) data() string { return filepath.Join(s.home, "data") }

// prepare finds the programs and makes sure of an initialised data directory. The
// channel yields once a new one is durable.
func (s *Server) prepare(ctx context.Context) (<-chan error, error) {
	synced := make(chan error, 1)
	marker := filepath.Join(s.home, "initialised")
	_, err := os.Stat(marker)
	if err == nil {
		b, err := os.ReadFile(filepath.Join(s.data(), "PG_VERSION"))
		if err != nil {
			return nil, fmt.Errorf("PostgreSQL's data directory: %w", err)
		}
		major, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			return nil, fmt.Errorf("PostgreSQL's data directory is damaged: PG_VERSION is %q", b)
		}
		if s.bin, err = binaries(ctx, s.logger, major); err != nil {
			return nil, err
		}
		if err := s.account.ownAll(s.data()); err != nil {
			return nil, fmt.Errorf("PostgreSQL's data directory: %w", err)
		}
		synced <- nil
		return synced, s.connection(filepath.Join(s.home, "password"))
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("PostgreSQL's data directory: %w", err)
	}
	if s.bin, err = binaries(ctx, s.logger, 0); err != nil {
		return nil, err
	}
	if err := s.initialise(ctx); err != nil {
		return nil, err
	}
	go func() { synced <- s.sync(marker) }()
	return synced, s.connection(filepath.Join(s.home, "password"))
}

// initialise makes a data directory, replacing what an interrupted one left.
func (s *Server) initialise(ctx context.Context) error {
	if err := os.RemoveAll(s.data()); err != nil {
		return fmt.Errorf("initialising PostgreSQL: %w", err)
	}
	password := filepath.Join(s.home, "password")
	if err := os.WriteFile(password, []byte(rand.Text()+"\n"), 0o600); err != nil {
		return fmt.Errorf("initialising PostgreSQL: %w", err)
	}
	for _, dir := range []string{"data", "run"} {
		if err := os.MkdirAll(filepath.Join(s.home, dir), 0o700); err != nil {
			return fmt.Errorf("initialising PostgreSQL: %w", err)
		}
		if err := s.account.own(filepath.Join(s.home, dir)); err != nil {
			return fmt.Errorf("initialising PostgreSQL: %w", err)
		}
	}
	if err := s.account.own(password); err != nil {
		return fmt.Errorf("initialising PostgreSQL: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", role, "--pwfile="+password,
		"-A", "scram-sha-256", "--no-sync", "--locale=C", "-E", "UTF8")
	cmd.Env, cmd.Dir = environment(s.home), s.data()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account.credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil { // it was told to end
			return fmt.Errorf("initialising PostgreSQL: %w", ctx.Err())
		}
		return fmt.Errorf("initialising PostgreSQL with %s: %w: %s", cmd.Path, err, lastLines(out))
	}
	return nil
}

// sync makes a new data directory durable and then says so.
func (s *Server) sync(marker string) error {
	if err := syncTree(s.home); err != nil {
		return fmt.Errorf("initialising PostgreSQL: %w", err)
	}
	f, err := os.OpenFile(marker, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		var d *os.File
		if d, err = os.Open(s.home); err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("initialising PostgreSQL: %w", err)
	}
	return nil
}

// socketDir is where the server listens: a path that fits into a socket's address.
func (s *Server) socketDir() (string, error) {
	dir := filepath.Join(s.home, "run")
	if len(dir) > 80 {
		dir = filepath.Join("/tmp", "freshet-"+shortHash(s.home))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || !s.account.mayOwn(st.Uid) {
		return "", fmt.Errorf("%s belongs to somebody else", dir)
	}
	return dir, s.account.own(dir)
}

func (s *Server) connection(passwordFile string) error {
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return fmt.Errorf("PostgreSQL's password: %w", err)
	}
	dir, err := s.socketDir()
	if err != nil {
		return fmt.Errorf("PostgreSQL's socket: %w", err)
	}
	// A space is %20 in every part of the address; Encode's + would stay a plus sign.
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, strings.TrimSpace(string(password))), Path: "/postgres",
		RawQuery: "host=" + strings.ReplaceAll(url.QueryEscape(dir), "+", "%20")}
	s.url = u.String()
	return nil
}

// settings: small, and safe before fast.
func (s *Server) arguments() ([]string, error) {
	dir, err := s.socketDir()
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL's socket: %w", err)
	}
	args := []string{"-D", s.data()}
	for _, setting := range append([]string{
		"listen_addresses=", "unix_socket_directories=" + dir, "unix_socket_permissions=0700",
		"fsync=on", "synchronous_commit=on", "full_page_writes=on",
		"wal_level=minimal", "max_wal_senders=0", "max_wal_size=1GB", "min_wal_size=64MB", "checkpoint_timeout=15min",
		"shared_buffers=32MB", "max_connections=100", "work_mem=8MB", "maintenance_work_mem=32MB",
		"jit=off", "max_parallel_workers_per_gather=0", "max_worker_processes=2", "max_logical_replication_workers=0", "autovacuum_max_workers=1",
		"autovacuum_naptime=30s",
		"idle_in_transaction_session_timeout=60s", "timezone=UTC", "log_timezone=UTC", "datestyle=ISO, YMD",
		"logging_collector=off", "log_min_messages=warning", "log_line_prefix=%m [%p] ", "huge_pages=off",
	}, s.settings...) {
		args = append(args, "-c", setting)
	}
	return args, nil
}

// launch starts the process. A dedicated thread starts it and stays until it has
// ended, because Linux ends the child when the thread that started it ends.
func (s *Server) launch() error {
	args, err := s.arguments()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.home, "postgres.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("PostgreSQL's log: %w", err)
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	cmd.Env, cmd.Dir = environment(s.home), s.data()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account.credential(), Setpgid: true}
	endWithParent(cmd.SysProcAttr)
	started := make(chan error, 1)
	exited := make(chan struct{})
	go func() {
		lockThread()
		err := cmd.Start()
		started <- errors.Join(err, log.Close())
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log; that it ended is what matters
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	s.mu.Lock()
	s.pid, s.exited = cmd.Process.Pid, exited
	s.mu.Unlock()
	return nil
}

// ready waits until the server takes connections.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s.mu.Lock()
	pid, exited := s.pid, s.exited
	s.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if p := readPidFile(s.data()); p.pid == pid && p.status == "ready" {
			return nil
		}
		select {
		case <-exited:
			out, err := os.ReadFile(filepath.Join(s.home, "postgres.log"))
			if err != nil {
				out = []byte(err.Error())
			}
			return fmt.Errorf("PostgreSQL ended while it started: %s", lastLines(out))
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL is not ready; its log is %s: %w", filepath.Join(s.home, "postgres.log"), ctx.Err())
		case <-tick.C:
		}
	}
}

// watch starts the server again when it ends without being told to.
func (s *Server) watch() {
	defer close(s.watched)
	pause := 100 * time.Millisecond
	for {
		s.mu.Lock()
		exited := s.exited
		s.mu.Unlock()
		<-exited
		s.mu.Lock()
		stopping := s.stopping
		s.mu.Unlock()
		if stopping {
			return
		}
		s.logger.Error("PostgreSQL ended unexpectedly and is started again", "log", filepath.Join(s.home, "postgres.log"))
		time.Sleep(pause)
		pause = min(2*pause, 5*time.Second)
		if err := s.restart(); err != nil {
			s.logger.Error("PostgreSQL does not start", "error", err)
		}
	}
}

func (s *Server) restart() error {
	if err := s.launch(); err != nil {
		return err
	}
	s.mu.Lock()
	stopping, pid, exited := s.stopping, s.pid, s.exited
	s.mu.Unlock()
	if stopping { // Stop came in between and saw the process before this one
		return stop(context.Background(), pid, exited)
	}
	return s.ready(context.Background())
}

// Stop ends the server: cleanly, else at once, in which case it recovers when it
// is started next. A server that was given is left alone.
func (s *Server) Stop(ctx context.Context) error {
	if s.external {
		return nil
	}
	s.mu.Lock()
	s.stopping = true
	pid, exited := s.pid, s.exited
	s.mu.Unlock()
	if pid != 0 {
		if err := stop(ctx, pid, exited); err != nil {
			return err
		}
	}
	if s.watched != nil {
		<-s.watched
	}
	return nil
}

func stop(ctx context.Context, pid int, exited <-chan struct{}) error {
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, stopFast}, {syscall.SIGQUIT, stopAtOnce}, {syscall.SIGKILL, stopAtOnce}} {
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping PostgreSQL: %w", err)
		}
		wait := time.NewTimer(step.wait)
		select {
		case <-exited:
			wait.Stop()
			return nil
		case <-ctx.Done(): // no time left for a clean end
			wait.Stop()
			ctx = context.WithoutCancel(ctx)
		case <-wait.C:
		}
	}
	return fmt.Errorf("PostgreSQL (process %d) does not end", pid)
}

func environment(home string) []string {
	return []string{"PATH=/usr/bin:/bin", "HOME=" + home, "LC_ALL=C", "TZ=UTC"}
}

func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "; ")
}

// same says whether a process' arguments are the ones it would be started with now.
func same(running, wanted []string) bool {
	return len(running) > 0 && slices.Equal(running[1:], wanted)
}

//go:build unix

package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// pidFile is what a postmaster says of itself.
type pidFile struct {
	pid    int
	status string
}

func readPidFile(data string) pidFile {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}
	}
	lines := strings.Split(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return pidFile{}
	}
	p := pidFile{pid: pid}
	if len(lines) > 7 {
		p.status = strings.TrimSpace(lines[7])
	}
	return p
}

// adopt takes over the server that a killed process left on this data directory,
// if it runs with today's settings; else it stops it. It touches no process but
// the one that is named by postmaster.pid and works in this data directory.
func (s *Server) adopt(ctx context.Context) bool {
	s.clearSocketLocks()
	p := readPidFile(s.data())
	if p.pid <= 1 {
		return false
	}
	if !worksIn(p.pid, s.data()) {
		// The file is stale, and its number may be another process' by now, which
		// PostgreSQL would take for a running postmaster.
		if err := os.Remove(filepath.Join(s.data(), "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.logger.Warn("a stale postmaster.pid stays", "error", err)
		}
		return false
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		for syscall.Kill(p.pid, 0) == nil && worksIn(p.pid, s.data()) {
			time.Sleep(100 * time.Millisecond)
		}
	}()
	if wanted, err := s.arguments(); err == nil && same(commandLine(p.pid), wanted) && s.answers(ctx) {
		s.logger.Info("took over the running PostgreSQL of this data directory", "pid", p.pid)
		s.mu.Lock()
		s.pid, s.exited = p.pid, exited
		s.mu.Unlock()
		return true
	}
	if err := stop(ctx, p.pid, exited); err != nil {
		s.logger.Warn("the PostgreSQL left on this data directory does not end", "error", err)
	}
	return false
}

// clearSocketLocks removes what a killed server left beside its socket. The number
// in it may be another process' by now, which PostgreSQL would wait for to end.
func (s *Server) clearSocketLocks() {
	dir, err := s.socketDir()
	if err != nil {
		return // starting tells
	}
	locks, err := filepath.Glob(filepath.Join(dir, ".s.PGSQL.*.lock"))
	if err != nil {
		return
	}
	for _, lock := range locks {
		b, err := os.ReadFile(lock)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(string(b), "\n")
		if pid, err := strconv.Atoi(strings.TrimSpace(first)); err == nil && pid > 1 && worksIn(pid, s.data()) {
			continue
		}
		if err := os.Remove(lock); err != nil {
			s.logger.Warn("a stale lock of PostgreSQL's socket stays", "error", err)
		}
	}
}

func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return false
	}
	return errors.Join(conn.Ping(ctx), conn.Close(ctx)) == nil
}

// worksIn says whether a process is a PostgreSQL with this data directory.
func worksIn(pid int, data string) bool {
	if cwd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd"); err == nil {
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		return err == nil && cwd == data && strings.HasPrefix(string(comm), "postgres")
	}
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && bytes.Contains(out, []byte("postgres")) && bytes.Contains(out, []byte(data))
}

func commandLine(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

func (a *account) mayOwn(uid uint32) bool {
	return int(uid) == os.Geteuid() || (a != nil && uid == a.uid)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

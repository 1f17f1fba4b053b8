package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/nats-io/nats.go/jetstream"
)

// rollBack takes a copy of the log's store, and after a while puts it in the place of
// what the store has become.
func (s *Suite) rollBack(ctx context.Context, f fault) error {
	p, store := s.procs["nats"], s.dir("nats")
	before, err := os.MkdirTemp(s.o.Dir, "nats-before-")
	if err != nil {
		return err
	}
	if _, err := p.Down(syscall.SIGTERM, time.Minute); err != nil {
		return err
	}
	if err := os.CopyFS(before, os.DirFS(store)); err != nil {
		return err
	}
	p.Up()
	sleep(ctx, f.lasts)
	if _, err := p.Down(syscall.SIGKILL, time.Minute); err != nil {
		return err
	}
	entries, err := os.ReadDir(store)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(store, e.Name())); err != nil {
			return err
		}
	}
	if err := os.CopyFS(store, os.DirFS(before)); err != nil {
		return err
	}
	p.Up()
	return os.RemoveAll(before)
}

// loseStore leaves the log's server without anything that it stored.
func (s *Suite) loseStore() error {
	p := s.procs["nats"]
	if _, err := p.Down(syscall.SIGKILL, time.Minute); err != nil {
		return err
	}
	err := os.RemoveAll(filepath.Join(s.dir("nats"), "jetstream"))
	p.Up()
	return err
}

// restoreDatabase takes a dump of a service's schemas, and after a while puts it in the
// place of what they have become. What was acknowledged and has not reached the log by
// then would be nowhere any more: that is waited for, as an operator would.
func (s *Suite) restoreDatabase(ctx context.Context, f fault) error {
	direct, _, err := s.postgresURLs()
	if err != nil {
		return err
	}
	schemas := []string{schemaOf(f.target), schemaOf(f.target) + "_io", schemaOf(f.target) + "_data"}
	var dump string
	err = retry(ctx, func() error {
		dump, err = run(ctx, "", "pg_dump", "--dbname="+direct, "--schema="+schemas[0], "--schema="+schemas[1], "--schema="+schemas[2])
		return err
	})
	if err != nil {
		return err
	}
	sleep(ctx, f.lasts)
	p := s.procs[f.target]
	defer p.Up()
	for {
		if _, err := p.Down(syscall.SIGTERM, stopWithin); err != nil {
			return err
		}
		var published bool
		err := retry(ctx, func() (err error) {
			published, err = s.published(ctx, f.target)
			return err
		})
		if err != nil {
			return err
		}
		if published {
			break
		}
		p.Up()
		sleep(ctx, 200*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not publish what it recorded: %w", f.target, ctx.Err())
		}
	}
	script := "DROP SCHEMA IF EXISTS " + strings.Join(schemas, ", ") + " CASCADE;\n" + dump
	return retry(ctx, func() error {
		_, err := run(ctx, script, "psql", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--dbname="+direct)
		return err
	})
}

// published tells whether the log has everything of a service's outbox.
func (s *Suite) published(ctx context.Context, service string) (bool, error) {
	var recorded uint64
	if err := s.db.QueryRow(ctx, "SELECT coalesce(max(sequence), 0) FROM "+schemaOf(service)+"_io.outbox").Scan(&recorded); err != nil {
		return false, err
	}
	name, err := attest.Current(ctx, s.js)
	if err != nil {
		return false, err
	}
	stream, err := s.js.Stream(ctx, name)
	if err != nil {
		return false, err
	}
	last, err := stream.GetLastMsgForSubject(ctx, "freshet.*."+service+".>")
	if errors.Is(err, jetstream.ErrMsgNotFound) { // its epoch begins later: an older one had it
		return recorded == 0 || stream.CachedInfo().State.FirstSeq > 1, nil
	}
	if err != nil {
		return false, err
	}
	m, err := newMessage(last.Sequence, last.Data)
	return m.sequence == recorded, err
}

// run runs a program on an input and returns what it prints.
func run(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, said.String())
	}
	return string(out), nil
}

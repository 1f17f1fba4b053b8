// Package git runs the git binary on addresses and revisions that people gave,
// guarded: addresses and branches are checked before git sees them and always
// follow "--"; only file, https and ssh are spoken; no configuration but our own
// is read; hooks, submodules, filters, attributes and prompts are off; no working
// tree is ever written, so that nothing is checked out and no symbolic link is
// followed. A command ends with its context, its children with it.
//
// Errors are *Error; they carry git's first line of complaint, never an address
// with credentials, because such addresses are refused.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
)

// ErrNoBranch: the repository has no such branch.
var ErrNoBranch = errors.New("the repository has no such branch")

// Error is a git command that failed.
type Error struct {
	Command string
	Message string
}

func (e *Error) Error() string { return "git " + e.Command + ": " + e.Message }

// Runner runs git.
type Runner struct {
	binary string
	config string
	home   string
	local  bool
}

// settings of every command. A local repository may belong to somebody else:
// it is only read, through upload-pack, which honours nothing in its config that
// runs programs.
const settings = `[safe]
	directory = *
[core]
	hooksPath = /dev/null
	symlinks = false
	fsmonitor = false
	attributesFile = /dev/null
	askPass = true
[protocol]
	allow = never
[protocol "file"]
	allow = always
[protocol "https"]
	allow = always
[protocol "ssh"]
	allow = always
[transfer]
	fsckObjects = true
[fetch]
	recurseSubmodules = false
[submodule]
	recurse = false
[credential]
	helper =
[http]
	followRedirects = false
[gc]
	auto = 0
[maintenance]
	auto = false
`

// New prepares a runner. Dir is a directory of its own, for its configuration.
// Local says whether directories of this machine may be watched.
func New(dir string, local bool) (*Runner, error) {
	binary, err := exec.LookPath("git")
	if err != nil {
		return nil, errors.New("git is not installed; install it (apt install git, brew install git) so that repositories can be watched")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &Runner{binary: binary, config: filepath.Join(dir, "gitconfig"), home: dir, local: local}
	return r, os.WriteFile(r.config, []byte(settings), 0o600)
}

func (r *Runner) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.binary, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + r.home, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + r.config, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "SSH_ASKPASS=true",
		"GIT_ALLOW_PROTOCOL=file:https:ssh", "GIT_PROTOCOL_FROM_USER=0",
		"GIT_SSH_COMMAND=ssh -oBatchMode=yes -oPermitLocalCommand=no -oClearAllForwardings=yes",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0", "GIT_LITERAL_PATHSPECS=1", "GIT_CEILING_DIRECTORIES=/",
	}
	if agent := os.Getenv("SSH_AUTH_SOCK"); agent != "" {
		cmd.Env = append(cmd.Env, "SSH_AUTH_SOCK="+agent)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run returns what a command prints, at most limit bytes of it.
func (r *Runner) run(ctx context.Context, dir string, limit int64, args ...string) ([]byte, error) {
	cmd := r.command(ctx, dir, args...)
	out, complaint := &capped{limit: limit}, &capped{limit: 4096}
	cmd.Stdout, cmd.Stderr = out, complaint
	name := strings.TrimPrefix(args[0], "--")
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			name = a
			break
		}
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 2 && name == "ls-remote" {
			return nil, ErrNoBranch
		}
		return nil, &Error{Command: name, Message: firstLine(complaint.String(), err.Error())}
	}
	if out.over {
		return nil, &Error{Command: name, Message: fmt.Sprintf("more than %d bytes of output", limit)}
	}
	return out.Bytes(), nil
}

func firstLine(text, otherwise string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "warning:") {
			return strings.ToValidUTF8(line[:min(len(line), 300)], "?")
		}
	}
	return otherwise
}

// Head is the revision that a branch points to.
func (r *Runner) Head(ctx context.Context, address, branch string) (string, error) {
	if err := r.check(address, branch); err != nil {
		return "", err
	}
	out, err := r.run(ctx, r.home, 64<<10, "ls-remote", "--exit-code", "--refs", "--", address, "refs/heads/"+branch)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		revision, ref, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if ok && ref == "refs/heads/"+branch && domain.IsRevision(revision) {
			return revision, nil
		}
	}
	return "", ErrNoBranch
}

func (r *Runner) check(address, branch string) error {
	if err := domain.CheckAddress(address, r.local); err != nil {
		return err
	}
	return domain.CheckBranch(branch)
}

// Clone is a bare copy of one revision.
type Clone struct {
	runner   *Runner
	dir      string
	Revision string
}

// Fetch copies one revision into an empty directory. A server that does not give
// out single revisions is asked for the branch.
func (r *Runner) Fetch(ctx context.Context, address, branch, revision, dir string) (*Clone, error) {
	if err := r.check(address, branch); err != nil {
		return nil, err
	}
	if !domain.IsRevision(revision) {
		return nil, fmt.Errorf("%w: %q is no revision", domain.ErrAddress, revision)
	}
	if _, err := r.run(ctx, r.home, 4096, "init", "--quiet", "--bare", "--template=", "--", dir); err != nil {
		return nil, err
	}
	fetch := []string{"fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance"}
	_, err := r.run(ctx, dir, 4096, append(fetch, "--depth=1", "--", address, revision)...)
	if err != nil && ctx.Err() == nil {
		_, err = r.run(ctx, dir, 4096, append(fetch, "--", address, "refs/heads/"+branch)...)
	}
	if err != nil {
		return nil, err
	}
	c := &Clone{runner: r, dir: dir, Revision: revision}
	kind, err := r.run(ctx, dir, 4096, "cat-file", "-t", revision)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(kind)) != "commit" {
		return nil, &Error{Command: "cat-file", Message: revision + " is not a commit"}
	}
	return c, nil
}

// Commit returns the raw commit object.
func (c *Clone) Commit(ctx context.Context) ([]byte, error) {
	return c.runner.run(ctx, c.dir, 1<<20, "cat-file", "commit", c.Revision)
}

// Blobs calls fn with each named blob, in order.
func (c *Clone) Blobs(ctx context.Context, entries []Entry, fn func(Entry, []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := c.runner.command(ctx, c.dir, "cat-file", "--batch", "--buffer")
	var ask bytes.Buffer
	for _, e := range entries {
		fmt.Fprintln(&ask, e.ID)
	}
	cmd.Stdin = &ask
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failed := readBatch(out, entries, fn)
	if failed != nil {
		cancel() // git would wait for somebody to read on
		_ = cmd.Wait()
		return failed
	}
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		return &Error{Command: "cat-file", Message: err.Error()}
	}
	return nil
}

type capped struct {
	bytes.Buffer
	limit int64
	over  bool
}

func (c *capped) Write(p []byte) (int, error) {
	if left := c.limit - int64(c.Len()); int64(len(p)) > left {
		c.over = true
		c.Buffer.Write(p[:max(left, 0)])
		return len(p), nil
	}
	return c.Buffer.Write(p)
}

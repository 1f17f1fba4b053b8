package demo

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	flightdelays "github.com/freshet-io/freshet/examples/flight-delays"
)

// A repository is the model's Git repository, made from the example.
type repository struct{ dir string }

func createRepository(ctx context.Context, dir string) (*repository, error) {
	r := &repository{dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := r.git(ctx, "init", "--quiet", "--initial-branch=main"); err != nil {
		return nil, err
	}
	if err := r.commit(ctx, flightdelays.Model, "model", "Predict late departures from the airport's last three hours"); err != nil {
		return nil, err
	}
	return r, nil
}

// change commits the example's second revision.
func (r *repository) change(ctx context.Context) error {
	return r.commit(ctx, flightdelays.Change, "change",
		"Add the delays of the route, and penalise less\n\nHypothesis: some routes are late day after day, whatever their airport does.")
}

func (r *repository) commit(ctx context.Context, files fs.FS, root, message string) error {
	sub, err := fs.Sub(files, root)
	if err != nil {
		return err
	}
	err = fs.WalkDir(sub, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(sub, path)
		if err != nil {
			return err
		}
		target := filepath.Join(r.dir, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, raw, 0o644)
	})
	if err != nil {
		return err
	}
	if err := r.git(ctx, "add", "--all"); err != nil {
		return err
	}
	return r.git(ctx, "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", message)
}

func (r *repository) git(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

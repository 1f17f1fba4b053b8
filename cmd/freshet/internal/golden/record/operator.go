package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	flightdelays "github.com/freshet-io/freshet/examples/flight-delays"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/jackc/pgx/v5"
)

// An operator gives the log what an installation sees over the years and a demo does
// not: a model that is trained by schedule, rolled out by the clock, cancelled and
// withdrawn, and events that could not be applied.
type operator struct {
	suite         *suite.Suite
	clock         *clock.Driven
	dir, database string
}

func (o *operator) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{o.declare, o.hours, o.cancel, o.park, o.withdraw} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := settle(ctx, o.suite.URL()); err != nil {
			return err
		}
	}
	return nil
}

const nightly = "nightly-delays"

func (o *operator) repository() string { return filepath.Join(o.dir, "repositories", nightly) }

// declare connects a repository whose model is trained every hour and goes to
// production by itself, in steps that only take time.
func (o *operator) declare(ctx context.Context) error {
	spec, err := flightdelays.Model.ReadFile("model/freshet.yaml")
	if err != nil {
		return err
	}
	changed := string(spec)
	for _, c := range [][2]string{
		{"model: flight-delays", "model: " + nightly},
		{"  better: champion == null || candidate.log_loss < champion.log_loss\n", ""},
		{"approve: approver", "approve: auto"},
		{"{canary: [10, 50], step: {requests: 300, at_least: 1h, at_most: 36h}}", "{canary: [50], step: {requests: 0, at_least: 30m, at_most: 2h}}"},
		{"{window: 24h, drift: {psi: 0.25}, alarms: {quality: live.auc < 0.58}}", "{window: 1h, drift: {psi: 0.25}, alarms: {quality: live.auc < 1.1}}"},
		{"{when: [data, code, drift, quality], data_commits: 3, cooldown: 1h, per_day: 10, give_up_after: 5}",
			`{when: [code], schedule: "0 * * * *", cooldown: 10m, per_day: 50, give_up_after: 50}`},
	} {
		if !strings.Contains(changed, c[0]) {
			return fmt.Errorf("the example's freshet.yaml has no %q any more", c[0])
		}
		changed = strings.Replace(changed, c[0], c[1], 1)
	}
	if err := os.MkdirAll(o.repository(), 0o755); err != nil {
		return err
	}
	if err := o.git(ctx, "init", "--quiet", "--initial-branch=main"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.repository(), "freshet.yaml"), []byte(changed), 0o644); err != nil {
		return err
	}
	if err := o.commit(ctx, "Train every hour"); err != nil {
		return err
	}
	return post(ctx, o.suite.URL()+"/v1/repositories", jsonType, fmt.Appendf(nil, `{"name":%q,"url":%q,"branch":"main"}`, nightly, o.repository()))
}

// hours lets some hours pass: schedules tick and rollouts step.
func (o *operator) hours(ctx context.Context) error {
	for range 8 {
		if err := settle(ctx, o.suite.URL()); err != nil {
			return err
		}
		o.clock.Set(o.clock.Now().Add(30 * time.Minute))
	}
	return nil
}

// cancel asks for a training and takes it back before it is done.
func (o *operator) cancel(ctx context.Context) error {
	for range 20 {
		if err := post(ctx, o.suite.URL()+"/v1/trainings", jsonType, fmt.Appendf(nil, `{"model":%q}`, nightly)); err != nil {
			return err
		}
		var runs struct {
			Items []struct{ Request, Run, Status string }
		}
		if err := get(ctx, o.suite.URL()+"/v1/runs?model="+nightly, &runs); err != nil {
			return err
		}
		for _, r := range runs.Items {
			if r.Status == "completed" || r.Status == "failed" {
				continue
			}
			id := r.Run
			if id == "" {
				id = r.Request
			}
			if _, err := send(ctx, http.MethodPost, o.suite.URL()+"/v1/runs/"+id+"/cancel", jsonType, []byte("{}")); err == nil {
				return nil
			}
		}
		if err := settle(ctx, o.suite.URL()); err != nil {
			return err
		}
		o.clock.Set(o.clock.Now().Add(11 * time.Minute)) // past the cooldown
	}
	return errors.New("no run could be cancelled")
}

// park lets PostgreSQL refuse what the registry applies; one event is tried again after
// that was repaired, one is skipped.
func (o *operator) park(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, o.database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is written any more
	for _, how := range []string{"retry", "discard"} {
		if _, err := conn.Exec(ctx, "ALTER TABLE registry.versions ADD CONSTRAINT refused CHECK (false) NOT VALID"); err != nil {
			return err
		}
		o.clock.Set(o.clock.Now().Add(11 * time.Minute))
		if err := post(ctx, o.suite.URL()+"/v1/trainings", jsonType, fmt.Appendf(nil, `{"model":%q}`, nightly)); err != nil {
			return err
		}
		var event string
		if err := o.await(ctx, "nothing was parked", "/v1/parked/registry", &event); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "ALTER TABLE registry.versions DROP CONSTRAINT refused"); err != nil {
			return err
		}
		if err := post(ctx, o.suite.URL()+"/v1/parked/registry/"+event+"/"+how, jsonType, []byte("{}")); err != nil {
			return err
		}
		if err := settle(ctx, o.suite.URL()); err != nil {
			return err
		}
	}
	return nil
}

// await asks for a list until it has an item, whose id it returns.
func (o *operator) await(ctx context.Context, otherwise, path string, id *string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		var list struct {
			Items []struct{ ID string }
		}
		if err := get(ctx, o.suite.URL()+path, &list); err != nil {
			return fmt.Errorf("%s: %w", otherwise, err)
		}
		if len(list.Items) > 0 {
			if id != nil {
				*id = list.Items[0].ID
			}
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", otherwise, ctx.Err())
		}
	}
}

// withdraw gives the repository another model in the place of the first one.
func (o *operator) withdraw(ctx context.Context) error {
	path := filepath.Join(o.repository(), "freshet.yaml")
	spec, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(spec), nightly, "weekly-delays", 1)), 0o644); err != nil {
		return err
	}
	if err := o.commit(ctx, "The nightly model is not needed any more"); err != nil {
		return err
	}
	return o.await(ctx, "nothing was withdrawn", "/v1/events?limit=1&type=io.freshet.ingestion.v1.model_withdrawn", nil)
}

func (o *operator) commit(ctx context.Context, message string) error {
	if err := o.git(ctx, "add", "--all"); err != nil {
		return err
	}
	return o.git(ctx, "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", message)
}

func (o *operator) git(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = o.repository()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

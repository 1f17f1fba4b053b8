package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/progress"
	"github.com/spf13/cobra"
)

// waiting is the --wait of a command that starts a ripple.
type waiting struct {
	on  bool
	yes []string // outcomes that are what was asked for, beside the usual ones
	no  []string // outcomes that are not
}

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.on, "wait", false, "follow it until nothing more follows, and print the outcome; exits with 4\n"+
		"if that is no, and with 5 if nothing moved for --timeout (5m unless given)")
}

// noes are outcomes of ripples by which something did not come to be.
var noes = []string{"alarm", "cancelled", "denied", "failed", "overtaken", "parked", "refused", "rejected", "rolled_back"}

// says reports whether an outcome is what was asked for.
func (w *waiting) says(outcome string) bool {
	return slices.Contains(w.yes, outcome) || !slices.Contains(append(w.no, noes...), outcome)
}

// usuallyIdle is how long nothing may move where --timeout does not say it.
const usuallyIdle = 5 * time.Minute

// await looks until it is done. Where nothing moves for --timeout, the error says what.
func (c *client) await(cmd *cobra.Command, look func(context.Context) (progress.Look, error), what func() string) error {
	idle := usuallyIdle
	if cmd.Flags().Changed("timeout") {
		idle = c.timeout
	}
	err := progress.Wait(cmd.Context(), idle, look)
	var stalled *progress.StalledError
	if errors.As(err, &stalled) {
		return timeoutf("nothing moved for %s (--timeout): %s", idle, what())
	}
	return err
}

// ripple is one as the console shows it.
type ripple struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail"`
	Open    bool   `json:"open"`
	Changed uint64 `json:"changed"`
}

func (r ripple) String() string {
	if r.ID == "" {
		return "the console does not know the ripple yet"
	}
	return fmt.Sprintf("ripple %s is %s: %s", r.ID, r.Outcome, clean(r.Detail))
}

// follow shows a ripple's outcomes as they change and returns when nothing more follows.
func (c *client) follow(cmd *cobra.Command, id string, w *waiting) error {
	var rest resting
	var r ripple
	var raw json.RawMessage
	said, atRest := "", false
	err := c.await(cmd, func(ctx context.Context) (progress.Look, error) {
		atRest = false
		status, now, answer, err := c.look(ctx, id)
		if exitCode(err) == exitNotFound { // the console has not applied it yet
			return progress.Look{}, nil
		}
		if err != nil {
			return progress.Look{}, err
		}
		if line := now.Outcome + ": " + clean(now.Detail); now.Changed != r.Changed && line != said && !c.forPrograms() {
			cmd.PrintErrln("  " + line)
			said = line
		}
		r, raw, atRest = now, answer, rest.sees(status, now)
		seen := progress.Look{Seen: fmt.Sprint(r.Changed)}
		if atRest {
			seen.Done, err = c.over(ctx, status, r)
		}
		return seen, err
	}, func() string { return r.String() })
	if atRest && exitCode(err) == exitTimeout { // a service works on, but not on this
		if waits, approvalsErr := c.waitsForPerson(cmd.Context(), r); approvalsErr != nil || waits {
			err = approvalsErr
		}
	}
	if err != nil {
		return err
	}
	return c.outcome(cmd, r, raw, w)
}

// look reads where the services are, and then the ripple.
func (c *client) look(ctx context.Context, id string) (suite.Status, ripple, json.RawMessage, error) {
	var status suite.Status
	var r ripple
	if _, err := c.get(ctx, "/statusz", nil, &status); err != nil {
		return status, r, nil, err
	}
	if _, runs := status.Services["console"]; !runs {
		return status, r, nil, errors.New("console is not running, and ripples are followed through it: start it (freshet up, with console in --services)")
	}
	raw, err := c.get(ctx, "/v1/ripples/"+url.PathEscape(id), nil, &r)
	return status, r, raw, err
}

// resting finds out whether all decisions that a ripple's events lead to are in it: every
// service has applied its last event and published what it decided, and the console has
// then applied the log up to there, without another change of the ripple.
type resting struct {
	changed uint64 // where the ripple changed last,
	end     uint64 // and where the log ended once every service had applied that
}

func (r *resting) sees(status suite.Status, now ripple) bool {
	if r.end > 0 && now.Changed == r.changed && status.Services["console"].Position >= r.end {
		return true
	}
	if now.Changed != r.changed {
		*r = resting{changed: now.Changed}
	}
	for _, s := range status.Services {
		if s.Position < now.Changed || s.Behind["outbox"] > 0 {
			return false
		}
	}
	if r.end == 0 {
		r.end = status.End
	}
	return false
}

// over reports whether a ripple at rest has ended, or waits for a person while no service
// works: that may be for days.
func (c *client) over(ctx context.Context, status suite.Status, r ripple) (bool, error) {
	if !r.Open || r.Outcome == "parked" || r.Outcome == "alarm" {
		return true, nil
	}
	for _, s := range status.Services {
		if !s.Settled {
			return false, nil
		}
	}
	return c.waitsForPerson(ctx, r)
}

func (c *client) waitsForPerson(ctx context.Context, r ripple) (bool, error) {
	all, err := approvals.known(ctx, c)
	return slices.ContainsFunc(all.Items, func(i item) bool { return text(i["ripple"]) == r.ID }), err
}

// outcome prints how a ripple ended.
func (c *client) outcome(cmd *cobra.Command, r ripple, raw json.RawMessage, w *waiting) error {
	line := r.Outcome
	if r.Detail != "" {
		line += ": " + clean(r.Detail)
	}
	if c.forPrograms() {
		if err := c.encode(cmd.OutOrStdout(), raw); err != nil {
			return err
		}
	} else {
		cmd.Println(line)
	}
	if !w.says(r.Outcome) {
		return sayNo(errors.New("the outcome of ripple " + r.ID + " is " + line))
	}
	return nil
}

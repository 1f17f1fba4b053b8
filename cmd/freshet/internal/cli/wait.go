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

// usualStillness is how long nothing may move where --timeout does not say it.
const usualStillness = 5 * time.Minute

// A stillness ends a wait in which nothing moves.
type stillness struct {
	most  time.Duration
	state string
	since time.Time
}

func (c *client) stillness(cmd *cobra.Command) *stillness {
	began := time.Now()
	s := &stillness{most: usualStillness, since: began}
	if cmd.Flags().Changed("timeout") {
		s.most = c.timeout
	}
	return s
}

// saw reports whether the state is another one than before.
func (s *stillness) saw(state string) bool {
	if state == s.state {
		return false
	}
	began := time.Now()
	s.state, s.since = state, began
	return true
}

// over reports whether nothing moved for too long.
func (s *stillness) over() bool { return time.Since(s.since) > s.most }

// next waits a moment; it is an error where nothing moved for too long, or the command ends.
func (s *stillness) next(ctx context.Context, what func() string) error {
	if s.over() {
		return timeoutf("nothing moved for %s (--timeout): %s", s.most, what())
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(lookAgain):
		return nil
	}
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
	still := c.stillness(cmd)
	var rest resting
	said := ""
	for {
		status, r, raw, err := c.look(cmd.Context(), id)
		switch {
		case exitCode(err) == exitNotFound: // the console has not applied it yet
		case err != nil:
			return err
		default:
			if line := r.Outcome + ": " + clean(r.Detail); still.saw(fmt.Sprint(r.Changed)) && line != said && !c.forPrograms() {
				cmd.PrintErrln("  " + line)
				said = line
			}
			if rest.sees(status, r) {
				over, err := c.over(cmd.Context(), status, r, still)
				if err != nil {
					return err
				}
				if over {
					return c.outcome(cmd, r, raw, w)
				}
			}
		}
		if err := still.next(cmd.Context(), r.String); err != nil {
			return err
		}
	}
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
func (c *client) over(ctx context.Context, status suite.Status, r ripple, still *stillness) (bool, error) {
	if !r.Open || r.Outcome == "parked" || r.Outcome == "alarm" {
		return true, nil
	}
	for _, s := range status.Services {
		if !s.Settled && !still.over() {
			return false, nil
		}
	}
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

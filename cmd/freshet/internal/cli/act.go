package cli

import (
	"fmt"

	"github.com/freshet-io/freshet/libs/web"
	"github.com/spf13/cobra"
)

// byActor adds to a command, which records what a person does, who that is.
func (c *client) byActor(cmd *cobra.Command) *cobra.Command {
	var actor string
	cmd.Flags().StringVar(&actor, "actor", fromEnv("FRESHET_ACTOR", ""), "who acts: an opaque id, recorded for ever (also FRESHET_ACTOR)")
	complete(cmd, "actor", nothing)
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if actor == "" && !cmd.Flags().Changed("actor") {
			return nil
		}
		if err := web.CheckActor(actor); err != nil {
			return usagef("--actor or FRESHET_ACTOR: %w", err)
		}
		c.actor = actor
		return nil
	}
	return cmd
}

// recorded is what a suite answers where it recorded what a person asked for.
type recorded struct {
	ID       string `json:"id"` // of the event
	Ripple   string `json:"ripple"`
	Existing bool   `json:"existing"`
}

// act asks for something and says that it was recorded, or with --wait what became of it.
func (c *client) act(cmd *cobra.Command, path string, body any, done string, w *waiting) error {
	var answer recorded
	raw, err := c.post(cmd.Context(), path, body, &answer)
	if err != nil {
		return err
	}
	if w != nil && w.on {
		return c.follow(cmd, answer.Ripple, w)
	}
	if c.forPrograms() {
		return c.encode(cmd.OutOrStdout(), raw)
	}
	if answer.ID != "" {
		done += " (event " + answer.ID + ")"
	}
	if answer.Existing {
		done += ", as before"
	}
	cmd.Println(done)
	return nil
}

// target is a version for an environment, as the suite's routes take it.
type target struct {
	Namespace   string `json:"namespace"`
	Model       string `json:"model"`
	Version     int64  `json:"version"`
	Environment string `json:"environment"`
}

func (c *client) target(v version, environment string) target {
	return target{Namespace: c.namespace, Model: v.model, Version: v.number, Environment: environment}
}

func (t target) String() string { return fmt.Sprintf("%s@%d", t.Model, t.Version) }

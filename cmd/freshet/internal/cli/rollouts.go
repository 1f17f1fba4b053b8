package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

var rollouts = resource{
	noun: "rollouts", arg: "ROLLOUT", about: "rollouts and how they ended, the newest first", path: "/v1/rollouts", limit: true, most: mostLimit,
	columns: slices.Concat([]column{id("rollout", "rollout"), col("model", "model"), col("environment", "environment"), col("version", "version"),
		col("previous", "previous"), col("kind", "kind"), state("state", "state"), col("weight", "weight"), col("started", "started"),
		col("moved", "moved"), col("reason", "reason")}, wide(col("step", "step"), col("steps", "steps"))),
	filters: []filter{ofModel, ofEnvironment, {flag: "state", usage: "only in this state", path: "state"},
		{flag: "kind", usage: "only of this kind", path: "kind", values: []string{"promotion", "rollback"}}},
	name: firstOf("rollout"), ids: []string{"rollout"},
}

func rolloutsCommand(c *client) *cobra.Command {
	return rollouts.group(c, "Rollouts of versions to environments", rolloutsPromote(c), rolloutsRollback(c))
}

func rolloutsPromote(c *client) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "promote MODEL@VERSION ENVIRONMENT", Short: "Request the promotion of a version to an environment", Args: cobra.ExactArgs(2),
		Example:           "  freshet rollouts promote flight-delays@3 production --wait",
		ValidArgsFunction: inTurn(c.names("versions"), c.modelEnvironments),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.version(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.act(cmd, "/v1/promotions", c.target(v, args[1]), "asked to promote "+v.String()+" to "+args[1], &w)
		},
	}
	w.flags(cmd)
	return c.byActor(cmd)
}

func rolloutsRollback(c *client) *cobra.Command {
	var to string
	var w waiting
	cmd := &cobra.Command{
		Use: "rollback MODEL ENVIRONMENT", Short: "Roll an environment back to the previous version, or to --to", Args: cobra.ExactArgs(2),
		Example:           "  freshet rollouts rollback flight-delays production\n  freshet rollouts rollback flight-delays production --to flight-delays@2",
		ValidArgsFunction: inTurn(c.names("models"), c.modelEnvironments),
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"namespace": c.namespace, "model": args[0], "environment": args[1]}
			if cmd.Flags().Changed("to") {
				v, err := c.version(cmd.Context(), to)
				if err != nil {
					return err
				}
				if v.model != args[0] {
					return usagef("--to %s is a version of another model: name one of %s", to, args[0])
				}
				body["version"] = v.number
			}
			return c.act(cmd, "/v1/rollbacks", body, "asked to roll back "+args[0]+" in "+args[1], &w)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the version to roll back to, such as MODEL@2")
	complete(cmd, "to", c.names("versions"))
	w.flags(cmd)
	return c.byActor(cmd)
}

package cli

import (
	"net/url"
	"slices"

	"github.com/spf13/cobra"
)

var runs = resource{
	noun: "runs", arg: "RUN", about: "training runs, the newest first", path: "/v1/runs", limit: true,
	columns: slices.Concat([]column{id("run", "run", "request"), col("model", "model"), col("trigger", "trigger"), state("status", "status"),
		col("seconds", "seconds"), calc("revision", short("revision")), col("requested", "requested_at"), col("reason", "reason")},
		wide(id("request", "request"), id("training set", "training_set"), col("started", "started_at"), col("ended", "ended_at"), col("attempts", "attempts"))),
	filters: []filter{ofModel, {flag: "status", usage: "only with this status", path: "status"},
		{flag: "trigger", usage: "only of this trigger", path: "trigger", values: []string{"code", "data", "drift", "person", "quality", "schedule"}}},
	name: firstOf("run", "request"), ids: []string{"run", "request"}, detail: pathOf("/v1/runs"),
}

var trainingSets = resource{
	noun: "training-sets", arg: "TRAINING_SET", about: "training sets, the newest first", path: "/v1/training-sets",
	columns: slices.Concat([]column{id("training set", "training_set"), col("model", "model"), state("status", "status"), col("as of", "as_of"),
		col("made", "at"), col("reason", "reason")}, wide(id("request", "request"))),
	filters: []filter{ofModel, {flag: "status", usage: "only with this status", path: "status"}},
	name:    firstOf("training_set", "request"), ids: []string{"training_set", "request"},
}

func runsCommand(c *client) *cobra.Command {
	return runs.group(c, "Training runs", runsStart(c), runsLog(c), runsCancel(c))
}

func runsStart(c *client) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "start MODEL", Short: "Request a training", Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.names("models")),
		Example: "  freshet runs start flight-delays --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.act(cmd, "/v1/trainings", map[string]any{"namespace": c.namespace, "model": args[0]}, "asked for a training of "+args[0], &w)
		},
	}
	w.flags(cmd)
	w.no = []string{"skipped"}
	return c.byActor(cmd)
}

func runsLog(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "log RUN", Short: "Print what a run's job printed", Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.names("runs")),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := runs.resolve(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			raw, err := c.get(cmd.Context(), "/v1/runs/"+url.PathEscape(run)+"/log", nil, nil)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(raw)
			return err
		},
	}
}

func runsCancel(c *client) *cobra.Command {
	return c.byActor(&cobra.Command{
		Use: "cancel RUN", Short: "Ask a run to stop", Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.names("runs")),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := runs.resolve(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			return c.act(cmd, "/v1/runs/"+url.PathEscape(run)+"/cancel", map[string]any{}, "asked run "+run+" to stop", nil)
		},
	})
}

func trainingSetsCommand(c *client) *cobra.Command {
	return trainingSets.group(c, "Training sets, each with the commits that it was built of")
}

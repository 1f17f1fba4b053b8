package cli

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// show prints a list route as a table, or what it answered.
func (c *client) show(cmd *cobra.Command, path string, query url.Values, columns ...column) error {
	var l list
	raw, err := c.get(cmd.Context(), path, query, &l)
	if err != nil {
		return err
	}
	if c.output == "json" {
		return indented(cmd.OutOrStdout(), raw)
	}
	return table(cmd.OutOrStdout(), l.Items, columns...)
}

// detail prints one object.
func (c *client) detail(cmd *cobra.Command, path string) error {
	raw, err := c.get(cmd.Context(), path, nil, &item{})
	if err != nil {
		return err
	}
	if c.output == "json" {
		return indented(cmd.OutOrStdout(), raw)
	}
	return details(cmd.OutOrStdout(), raw)
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(commands...)
	return cmd
}

// listCommand lists a route.
func listCommand(c *client, use, short, path string, columns ...column) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return c.show(cmd, path, nil, columns...)
	}}
}

// detailCommand shows one item of a route.
func detailCommand(c *client, use, short, path string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		return c.detail(cmd, path+"/"+url.PathEscape(args[0]))
	}}
}

func modelsCommand(c *client) *cobra.Command {
	return group("models", "Models and their champions",
		listCommand(c, "list", "List models", "/v1/models",
			col("model", "model"), col("latest", "latest"), column{"champions", champions}, col("mode", "mode"),
			col("owner", "owner"), column{"revision", short("revision")}, col("withdrawn", "withdrawn"), col("changed", "changed_at")),
		detailCommand(c, "show MODEL", "Show one model", "/v1/models"))
}

// champions shows which version each environment serves.
func champions(i item) string {
	all, _ := i["champions"].([]any)
	parts := make([]string, 0, len(all))
	for _, v := range all {
		m, ok := v.(map[string]any)
		if ok {
			parts = append(parts, fmt.Sprintf("%s v%s", text(m["environment"]), text(m["version"])))
		}
	}
	return strings.Join(parts, ", ")
}

func versionsCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "versions MODEL [VERSION]", Short: "Versions of a model, or one of them with its lineage", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/models/" + url.PathEscape(args[0]) + "/versions"
			if len(args) == 2 {
				return c.detail(cmd, path+"/"+url.PathEscape(strings.TrimPrefix(args[1], "v")))
			}
			return c.show(cmd, path, nil,
				col("version", "version"), col("status", "status"), col("trigger", "trigger"),
				col("auc", "metrics.candidate.auc"), col("log loss", "metrics.candidate.log_loss"),
				col("rmse", "metrics.candidate.rmse"), col("naive auc", "metrics.naive.auc"),
				column{"gates", gates}, column{"stages", stages}, column{"run", short("run")}, col("registered", "registered_at"))
		},
	}
}

// gates names the ones that refused.
func gates(i item) string {
	all, _ := i["gates"].([]any)
	var refused []string
	for _, v := range all {
		if m, ok := v.(map[string]any); ok && m["passed"] != true {
			refused = append(refused, text(m["name"]))
		}
	}
	switch {
	case len(all) == 0:
		return ""
	case len(refused) == 0:
		return "passed"
	}
	return "refused: " + strings.Join(refused, ", ")
}

func stages(i item) string {
	all, _ := i["stages"].([]any)
	parts := make([]string, 0, len(all))
	for _, v := range all {
		if m, ok := v.(map[string]any); ok {
			parts = append(parts, text(m["environment"])+" "+text(m["stage"]))
		}
	}
	return strings.Join(parts, ", ")
}

func runsCommand(c *client) *cobra.Command {
	log := &cobra.Command{
		Use: "log RUN", Short: "Print what a run's job printed", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := c.get(cmd.Context(), "/v1/runs/"+url.PathEscape(args[0])+"/log", nil, nil)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(raw)
			return err
		},
	}
	cancel := &cobra.Command{
		Use: "cancel RUN", Short: "Ask a run to stop", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.act(cmd, "/v1/runs/"+url.PathEscape(args[0])+"/cancel", map[string]any{}, "asked run "+args[0]+" to stop")
		},
	}
	return group("runs", "Training runs",
		listCommand(c, "list", "List runs", "/v1/runs",
			column{"run", firstOf("run", "request")}, col("model", "model"), col("trigger", "trigger"), col("status", "status"),
			col("seconds", "seconds"), column{"revision", short("revision")}, col("requested", "requested_at"), col("reason", "reason")),
		detailCommand(c, "show RUN", "Show one run", "/v1/runs"), log, cancel)
}

func firstOf(paths ...string) func(item) string {
	return func(i item) string {
		for _, p := range paths {
			if s := text(at(i, p)); s != "" {
				return s
			}
		}
		return ""
	}
}

func datasetsCommand(c *client) *cobra.Command {
	commits := &cobra.Command{
		Use: "commits DATASET", Short: "Commits of a dataset", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.show(cmd, "/v1/datasets/"+url.PathEscape(args[0])+"/commits", nil,
				col("number", "number"), column{"commit", short("commit")}, col("added rows", "added_rows"), col("rows", "rows"),
				col("quarantined", "quarantined"), col("from", "min_time"), col("to", "max_time"), col("committed", "committed"))
		},
	}
	return group("datasets", "Datasets and their commits",
		listCommand(c, "list", "List datasets", "/v1/datasets",
			col("dataset", "dataset"), col("commits", "commits"), col("rows", "rows"), col("to", "max_time"),
			column{"commit", short("commit")}, col("repository", "repository")), commits)
}

func rolloutsCommand(c *client) *cobra.Command {
	return listCommand(c, "rollouts", "Rollouts and how they ended", "/v1/rollouts",
		col("model", "model"), col("environment", "environment"), col("version", "version"), col("previous", "previous"),
		col("kind", "kind"), col("state", "state"), col("weight", "weight"), col("started", "started"), col("moved", "moved"), col("reason", "reason"))
}

func environmentsCommand(c *client) *cobra.Command {
	return listCommand(c, "environments", "What each environment serves", "/v1/environments",
		col("model", "model"), col("environment", "environment"), col("version", "version"), col("candidate", "candidate"),
		col("state", "state"), column{"weight", canaryWeight}, col("changed", "changed"))
}

// canaryWeight is the candidate's share of the traffic; without one there is none.
func canaryWeight(i item) string {
	if c := text(i["candidate"]); c == "" || c == "0" {
		return ""
	}
	return text(i["weight"])
}

func alertsCommand(c *client) *cobra.Command {
	return listCommand(c, "alerts", "Alerts of monitoring", "/v1/alerts",
		col("model", "model"), col("environment", "environment"), column{"alert", firstOf("name", "alert", "rule", "kind")},
		col("value", "value"), col("raised", "raised"), col("resolved", "resolved"), column{"id", firstOf("alert", "id")})
}

func windowsCommand(c *client) *cobra.Command {
	return listCommand(c, "windows", "Windows that monitoring has evaluated", "/v1/windows",
		col("model", "model"), col("environment", "environment"), col("kind", "kind"), col("version", "version"),
		column{"from", firstOf("from", "start", "opened")}, column{"to", firstOf("to", "end", "closed")},
		col("requests", "requests"), col("labels", "live_rows"), col("auc", "live.auc"), col("moved most", "column"), col("psi", "psi"))
}

func ripplesCommand(c *client) *cobra.Command {
	var trigger, outcome string
	var all bool
	listAll := &cobra.Command{
		Use: "list", Short: "List ripples, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			set(q, "trigger", trigger)
			set(q, "outcome", outcome)
			if all {
				q.Set("all", "true")
			}
			return c.show(cmd, "/v1/ripples", q,
				col("ripple", "id"), col("trigger", "trigger"), col("subject", "subject"), col("events", "events"),
				col("outcome", "outcome"), col("detail", "detail"), col("started", "started"), col("open", "open"))
		},
	}
	listAll.Flags().StringVar(&trigger, "trigger", "", "only of this trigger: data, code, drift, quality, schedule or person")
	listAll.Flags().StringVar(&outcome, "outcome", "", "only with this outcome")
	listAll.Flags().BoolVar(&all, "all", false, "also ripples in which nothing happened")
	one := &cobra.Command{
		Use: "show RIPPLE", Short: "Show a ripple's events as cause and effect", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.ripple(cmd, args[0]) },
	}
	return group("ripples", "Pipeline runs across services", listAll, one)
}

// ripple draws causes and effects as a tree.
func (c *client) ripple(cmd *cobra.Command, id string) error {
	var l list
	raw, err := c.get(cmd.Context(), "/v1/ripples/"+url.PathEscape(id), nil, &l)
	if err != nil {
		return err
	}
	if c.output == "json" {
		return indented(cmd.OutOrStdout(), raw)
	}
	known, children := map[string]bool{}, map[string][]item{}
	for _, e := range l.Items {
		known[text(e["id"])] = true
	}
	for _, e := range l.Items {
		cause := text(e["cause"])
		if !known[cause] {
			cause = ""
		}
		children[cause] = append(children[cause], e)
	}
	var draw func(cause, indent string)
	draw = func(cause, indent string) {
		for n, e := range children[cause] {
			branch, next := "├─ ", "│  "
			if n == len(children[cause])-1 {
				branch, next = "└─ ", "   "
			}
			if cause == "" {
				branch, next = "", ""
			}
			line := indent + branch + short("type")(e) + "  " + text(e["subject"])
			if note := text(e["note"]); note != "" {
				line += "  " + note
			}
			cmd.Println(line + "  " + text(e["time"]))
			draw(text(e["id"]), indent+next)
		}
	}
	draw("", "")
	return nil
}

func statusCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the position of each service in the log", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s struct {
				Services map[string]item `json:"services"`
				Settled  bool            `json:"settled"`
			}
			raw, err := c.get(cmd.Context(), "/statusz", nil, &s)
			if err != nil {
				return err
			}
			if c.output == "json" {
				return indented(cmd.OutOrStdout(), raw)
			}
			var items []item
			for _, name := range sortedKeys(s.Services) {
				items = append(items, s.Services[name])
			}
			return table(cmd.OutOrStdout(), items, col("service", "service"), col("settled", "settled"),
				col("position", "position"), col("behind", "behind"), col("error", "error"))
		},
	}
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

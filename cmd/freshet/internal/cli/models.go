package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

var (
	ofModel       = filter{flag: "model", usage: "only of this model", query: "model", of: "models"}
	ofEnvironment = filter{flag: "environment", usage: "only of this environment", query: "environment"}
)

// here makes a filter that a route has not: the command line picks.
func here(f filter) filter {
	f.query, f.path = "", f.flag
	return f
}

var models = resource{
	noun: "models", arg: "MODEL", about: "models and their champions", path: "/v1/models",
	columns: slices.Concat([]column{col("model", "model"), col("latest", "latest"), calc("champions", champions), col("mode", "mode"),
		col("owner", "owner"), calc("revision", short("revision")), col("withdrawn", "withdrawn"), col("changed", "changed_at")},
		wide(col("repository", "repository"), col("waiting since", "waiting_since"))),
	filters: []filter{{flag: "owner", usage: "only of this owner", path: "owner"},
		{flag: "waiting", usage: "only those of which a version waits for a person", yes: func(i item) bool { return text(i["waiting_since"]) != "" }}},
	name: firstOf("model"), detail: pathOf("/v1/models"),
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

var versions = resource{
	noun: "versions", arg: "MODEL@VERSION", about: "versions of models, the newest first", fetch: fetchVersions,
	columns: slices.Concat([]column{col("model", "model"), col("version", "version"), state("status", "status"), col("trigger", "trigger"),
		col("auc", "metrics.candidate.auc"), col("log loss", "metrics.candidate.log_loss"),
		col("rmse", "metrics.candidate.rmse"), col("naive auc", "metrics.naive.auc"),
		calc("gates", gates), calc("stages", stages), id("run", "run"), col("registered", "registered_at")},
		wide(col("rows", "metrics.rows"), id("event", "event"))),
	filters: []filter{ofModel, {flag: "status", usage: "only with this status", path: "status", values: []string{"registered", "passed", "refused"}}},
	name:    func(i item) string { return text(i["model"]) + "@" + text(i["version"]) },
}

// fetchVersions asks for one model's versions, or for every model's.
func fetchVersions(ctx context.Context, c *client, q url.Values) (list, error) {
	model := q.Get("model")
	q.Del("model")
	each := func(name string) (list, error) {
		var l list
		_, err := c.get(ctx, "/v1/models/"+url.PathEscape(name)+"/versions", q, &l)
		return l, err
	}
	if model != "" {
		return each(model)
	}
	return ofAll(ctx, c, models, each, "registered_at")
}

// ofAll puts the lists of many objects together, the newest first.
func ofAll(ctx context.Context, c *client, of resource, each func(name string) (list, error), time string) (list, error) {
	all, err := of.known(ctx, c)
	if err != nil {
		return list{}, err
	}
	var out list
	for _, i := range all.Items {
		l, err := each(of.name(i))
		if err != nil {
			return list{}, err
		}
		out.Items, out.raw = append(out.Items, l.Items...), append(out.raw, l.raw...)
	}
	order := make([]int, len(out.Items))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return -cmp.Compare(text(out.Items[a][time]), text(out.Items[b][time]))
	})
	sorted := list{}
	for _, n := range order {
		sorted.Items, sorted.raw = append(sorted.Items, out.Items[n]), append(sorted.raw, out.raw[n])
	}
	return sorted, nil
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

// versionsShow shows a version with its lineage.
func versionsShow(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "show MODEL@VERSION", Short: "Show a version with all that it was made of", Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.names("versions")),
		Long:    "Show a version with all that it was made of.\n\n" + capital(versionForm) + ".",
		Example: "  freshet versions show flight-delays@3\n  freshet versions show flight-delays@production",
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.version(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.detail(cmd, "/v1/models/"+url.PathEscape(v.model)+"/versions/"+strconv.FormatInt(v.number, 10))
		},
	}
}

// detail prints one object.
func (c *client) detail(cmd *cobra.Command, path string) error {
	raw, err := c.get(cmd.Context(), path, nil, &item{})
	if err != nil {
		return err
	}
	if c.forPrograms() {
		return c.encode(cmd.OutOrStdout(), raw)
	}
	return details(cmd.OutOrStdout(), raw)
}

var environments = resource{
	noun: "environments", arg: "ENVIRONMENT/MODEL", about: "environments and what each serves", path: "/v1/environments",
	columns: slices.Concat([]column{col("model", "model"), col("environment", "environment"), col("version", "version"), col("candidate", "candidate"),
		state("state", "state"), calc("weight", canaryWeight), col("changed", "changed")}, wide(id("rollout", "rollout"), col("withdrawn", "withdrawn"))),
	filters: []filter{here(ofModel), here(ofEnvironment)},
	name:    func(i item) string { return text(i["environment"]) + "/" + text(i["model"]) },
}

// canaryWeight is the candidate's share of the traffic; without one there is none.
func canaryWeight(i item) string {
	if c := text(i["candidate"]); c == "" || c == "0" {
		return ""
	}
	return text(i["weight"])
}

// modelEnvironments complete by the environments that a model, the argument before, has.
func (c *client) modelEnvironments(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	model, _, _ := strings.Cut(args[0], "@")
	named, directive := c.names("environments")(cmd, args, "")
	var found []cobra.Completion
	for _, n := range named {
		name, _, _ := strings.Cut(n, "\t")
		if environment, of, _ := strings.Cut(name, "/"); of == model && strings.HasPrefix(environment, begun) {
			found = append(found, environment)
		}
	}
	return found, directive
}

// environmentNames complete flags that name an environment.
func (c *client) environmentNames(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	named, directive := c.names("environments")(cmd, args, begun)
	found := make([]cobra.Completion, len(named))
	for n := range named {
		found[n], _, _ = strings.Cut(named[n], "/")
	}
	slices.Sort(found)
	return slices.Compact(found), directive
}

func modelsCommand(c *client) *cobra.Command { return models.group(c, "Models and their champions") }

func versionsCommand(c *client) *cobra.Command {
	return group("versions", "Versions of models, each a MODEL@VERSION", versions.list(c, "list"), versionsShow(c))
}

func environmentsCommand(c *client) *cobra.Command {
	return environments.group(c, "Environments and what each serves")
}

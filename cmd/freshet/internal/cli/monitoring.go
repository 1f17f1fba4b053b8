package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

var alerts = resource{
	noun: "alerts", arg: "ALERT", about: "alerts of monitoring, the newest first", path: "/v1/alerts", limit: true, most: mostLimit,
	columns: slices.Concat([]column{id("id", "alert"), col("model", "model"), col("environment", "environment"), col("alert", "name"),
		col("kind", "kind"), col("raised", "raised"), col("resolved", "resolved")}, wide(col("values", "values"))),
	filters: []filter{ofModel, here(ofEnvironment), {flag: "open", usage: "only those that are not resolved", query: "open", yes: isOpen},
		{flag: "kind", usage: "only of this kind", path: "kind"}},
	name: firstOf("alert"), ids: []string{"alert"},
}

func isOpen(i item) bool { return text(i["resolved"]) == "" }

var windows = resource{
	noun: "windows", arg: "WINDOW", about: "windows that monitoring has evaluated, the newest first", path: "/v1/windows", limit: true, most: mostLimit,
	columns: slices.Concat([]column{id("window", "id"), col("model", "model"), col("environment", "environment"), col("kind", "kind"), col("version", "version"),
		calc("from", firstOf("from", "start", "opened")), calc("to", firstOf("to", "end", "closed")),
		col("requests", "requests"), col("auc", "live.auc"), col("moved most", "column"), col("psi", "psi")},
		wide(col("labels", "live_rows"))),
	filters: []filter{ofModel, ofEnvironment, {flag: "kind", usage: "only of this kind", query: "kind"}},
	name:    firstOf("id"), ids: []string{"id"},
}

func alertsCommand(c *client) *cobra.Command { return alerts.group(c, "Alerts of monitoring") }

func windowsCommand(c *client) *cobra.Command {
	return windows.group(c, "Windows of traffic that monitoring has evaluated")
}

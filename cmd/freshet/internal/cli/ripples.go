package cli

import (
	"encoding/json"
	"io"
	"net/url"
	"slices"

	"github.com/spf13/cobra"
)

var ripples = resource{
	noun: "ripples", arg: "RIPPLE", about: "ripples, the newest first", path: "/v1/ripples", limit: true, most: 500,
	columns: slices.Concat([]column{id("ripple", "id"), col("trigger", "trigger"), col("subject", "subject"), col("events", "events"),
		state("outcome", "outcome"), col("detail", "detail"), col("started", "started"), col("open", "open")},
		wide(col("ended", "ended"), calc("root", short("root_type")))),
	filters: []filter{
		{flag: "trigger", usage: "only of this trigger: data, code, drift, quality, schedule or person", query: "trigger",
			values: []string{"code", "data", "drift", "person", "quality", "schedule"}},
		{flag: "outcome", usage: "only with this outcome, such as refused or serving", query: "outcome"},
		{flag: "subject", usage: "only of this dataset, repository or model", path: "subject"},
		{flag: "all", usage: "also ripples in which nothing happened", query: "all", yes: func(item) bool { return true }},
	},
	name: firstOf("id"), ids: []string{"id"},
}

func ripplesCommand(c *client) *cobra.Command {
	show := &cobra.Command{
		Use: "show RIPPLE", Short: "Show a ripple's events as cause and effect", Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.names("ripples")),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.rippleID(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var l list
			raw, err := c.get(cmd.Context(), "/v1/ripples/"+url.PathEscape(id), nil, &l)
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.encode(cmd.OutOrStdout(), raw)
			}
			return tree(cmd.OutOrStdout(), l.Items)
		},
	}
	w := waiting{on: true}
	wait := &cobra.Command{
		Use: "wait RIPPLE", Short: "Wait until nothing more follows in a ripple, and print its outcome", Args: cobra.ExactArgs(1),
		Long: "Wait until nothing more follows in a ripple, and print its outcome. It exits with 4 if the outcome is no, and with 5 if\n" +
			"nothing moved for --timeout (5m unless it is given). A ripple that waits for a person has an outcome: waiting.",
		Example:           "  freshet ripples wait 3f2a9c01 --timeout 10m",
		ValidArgsFunction: once(c.names("ripples")),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.rippleID(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if _, err := c.get(cmd.Context(), "/v1/ripples/"+url.PathEscape(id), nil, &json.RawMessage{}); err != nil {
				return err
			}
			return c.follow(cmd, id, &w)
		},
	}
	return group("ripples", "Ripples: all that a commit, a schedule, a window or a person set in motion", ripples.list(c, "list"), show, wait)
}

// tree draws causes and effects.
func tree(w io.Writer, events []item) error {
	known, children := map[string]bool{}, map[string][]item{}
	for _, e := range events {
		known[text(e["id"])] = true
	}
	for _, e := range events {
		cause := text(e["cause"])
		if !known[cause] {
			cause = ""
		}
		children[cause] = append(children[cause], e)
	}
	out := ""
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
			out += line + "  " + text(e["time"]) + "\n"
			draw(text(e["id"]), indent+next)
		}
	}
	draw("", "")
	_, err := io.WriteString(w, out)
	return err
}

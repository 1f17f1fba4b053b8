package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

var approvals = resource{
	noun: "approvals", arg: "APPROVAL", about: "what waits for a person, the oldest first", path: "/v1/approvals",
	columns: slices.Concat([]column{id("approval", "event"), col("model", "model"), col("version", "version"), col("environment", "environment"),
		col("auc", "candidate.auc"), col("log loss", "candidate.log_loss"), col("champion's", "champion.log_loss"), col("rows", "rows"),
		col("since", "since"), state("state", "state")}, wide(id("ripple", "ripple"))),
	filters: []filter{here(ofModel), here(ofEnvironment)},
	name:    firstOf("event"), ids: []string{"event"},
}

func approvalsCommand(c *client) *cobra.Command {
	bare := approvals.list(c, "approvals")
	cmd := group("approvals", "Approvals that wait for a person", approvals.list(c, "list"), approvals.show(c),
		decisionCommand(c, "give", "Approve a version for an environment", "approve", "approved"),
		decisionCommand(c, "deny", "Deny a version for an environment", "deny", "denied"))
	cmd.Long = "Approvals that wait for a person. Without a verb they are listed."
	verbs := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return verbs(cmd, args)
		}
		return bare.RunE(cmd, args)
	}
	cmd.Flags().AddFlagSet(bare.Flags())
	return cmd
}

func decisionCommand(c *client, use, short, verdict, done string) *cobra.Command {
	var note string
	var w waiting
	cmd := &cobra.Command{
		Use: use + " MODEL@VERSION [ENVIRONMENT] | APPROVAL", Short: short, Args: cobra.RangeArgs(1, 2),
		Long: short + ": name the version, or the approval by its id. The environment may be left out\n" +
			"where the version waits for one alone.",
		Example:           "  freshet approvals " + use + " flight-delays@3 production --note 'as discussed'\n  freshet approvals " + use + " 3f2a9c01",
		ValidArgsFunction: inTurn(either(c.waitingVersions, c.names("approvals")), c.modelEnvironments),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := c.awaited(cmd, args)
			if err != nil {
				return err
			}
			body := struct {
				target
				Verdict string `json:"verdict"`
				Note    string `json:"note,omitempty"`
			}{t, verdict, note}
			return c.act(cmd, "/v1/approvals", body, done+" "+t.String()+" for "+t.Environment, &w)
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "the reason; recorded with the decision")
	complete(cmd, "note", nothing)
	w.flags(cmd)
	if verdict == "deny" {
		w.yes = []string{"denied"} // it is what was asked for
	}
	return c.byActor(cmd)
}

// awaited is what the arguments of give and deny name.
func (c *client) awaited(cmd *cobra.Command, args []string) (target, error) {
	ctx := cmd.Context()
	if !strings.Contains(args[0], "@") {
		if len(args) > 1 {
			return target{}, usagef("%q names no version: %s", args[0], versionForm)
		}
		n, l, err := approvals.find(ctx, c, args[0])
		if err != nil {
			return target{}, err
		}
		return c.waitsAs(cmd, l.Items[n])
	}
	v, err := c.version(ctx, args[0])
	if err != nil {
		return target{}, err
	}
	if len(args) > 1 {
		return c.target(v, args[1]), nil
	}
	all, err := approvals.known(ctx, c)
	if err != nil {
		return target{}, err
	}
	l := all.pick(func(i item) bool { return versions.name(i) == v.String() })
	switch len(l.Items) {
	case 0:
		return target{}, notFoundf("%s does not wait for a person; freshet approvals list shows what does", v)
	case 1:
		return c.waitsAs(cmd, l.Items[0])
	}
	waits := make([]string, len(l.Items))
	for n, i := range l.Items {
		waits[n] = text(i["environment"])
	}
	return target{}, usagef("%s waits for several environments: name one of %s", v, strings.Join(waits, ", "))
}

func (c *client) waitsAs(cmd *cobra.Command, i item) (target, error) {
	v, err := c.version(cmd.Context(), versions.name(i))
	return c.target(v, text(i["environment"])), err
}

// waitingVersions complete by the versions that wait for a person.
func (c *client) waitingVersions(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	r := approvals
	r.name = versions.name
	return c.namesOf(cmd, r, begun)
}

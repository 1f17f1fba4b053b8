package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
)

// parkedCommands list the events that a service could not apply, and answer them.
func parkedCommands(c *client) []*cobra.Command {
	list := &cobra.Command{
		Use: "parked", Short: "List events that a service could not apply, of all namespaces or of --namespace", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.parked(cmd) },
	}
	answer := func(how, short, done string) *cobra.Command {
		return c.byActor(&cobra.Command{
			Use: how + " SERVICE EVENT", Short: short, Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				if _, err := c.services(cmd.Context(), args[0]); err != nil {
					return err
				}
				path := "/v1/parked/" + url.PathEscape(args[0]) + "/" + url.PathEscape(args[1]) + "/" + how
				return c.act(cmd, path, map[string]any{}, fmt.Sprintf(done, args[0], args[1]))
			},
		})
	}
	return []*cobra.Command{list,
		answer("retry", "Retry a parked event", "asked %s to retry %s"),
		answer("discard", "Discard a parked event: the service skips it", "asked %s to discard %s")}
}

// parked asks every service of the suite. One that does not answer is named, and
// the others are listed all the same.
func (c *client) parked(cmd *cobra.Command) error {
	services, err := c.services(cmd.Context(), "")
	if err != nil {
		return err
	}
	items, away := []item{}, []error{}
	for _, name := range services {
		var l list
		if _, err := c.get(cmd.Context(), "/v1/parked/"+url.PathEscape(name), nil, &l); err != nil {
			away = append(away, fmt.Errorf("%s: %w", name, err))
			continue
		}
		for _, i := range l.Items {
			if only := c.only(cmd); only != "" && only != i["namespace"] {
				continue
			}
			i["service"] = name
			items = append(items, i)
		}
	}
	if len(away) > 0 && len(away) == len(services) {
		return errors.Join(away...)
	}
	for _, err := range away {
		cmd.PrintErrln("not asked:", err)
	}
	if c.output == "json" {
		raw, err := json.Marshal(map[string]any{"items": items})
		if err != nil {
			return err
		}
		return indented(cmd.OutOrStdout(), raw)
	}
	if len(items) == 0 {
		cmd.Println("no event is parked")
		return nil
	}
	return table(cmd.OutOrStdout(), items, col("service", "service"), col("event", "id"), column{"type", short("type")},
		col("namespace", "namespace"), col("subject", "subject"), col("reason", "reason"), col("code", "code"), col("since", "time"), col("behind", "behind"))
}

// only is the namespace that was named; parked events of all are listed where none was.
func (c *client) only(cmd *cobra.Command) string {
	if cmd.Flags().Changed("namespace") {
		return c.namespace
	}
	return ""
}

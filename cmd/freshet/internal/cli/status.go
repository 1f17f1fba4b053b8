package cli

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"
)

// services are those of the suite: names to complete.
var services = resource{
	noun: "services", arg: "SERVICE", name: firstOf("service"),
	fetch: func(ctx context.Context, c *client, _ url.Values) (list, error) {
		names, err := c.services(ctx, "")
		l := list{}
		for _, name := range names {
			l.Items, l.raw = append(l.Items, item{"service": name}), append(l.raw, nil)
		}
		return l, err
	},
}

func statusCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the position of each service in the log", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s struct {
				Services map[string]item `json:"services"`
			}
			raw, err := c.get(cmd.Context(), "/statusz", nil, &s)
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.encode(cmd.OutOrStdout(), raw)
			}
			var items []item
			for _, name := range sortedKeys(s.Services) {
				items = append(items, s.Services[name])
			}
			return table(cmd.OutOrStdout(), c.screenOf(cmd), c.output == formatWide, items, col("service", "service"), col("settled", "settled"),
				col("position", "position"), col("behind", "behind"), col("error", "error"))
		},
	}
}

package cli

import (
	"encoding/json"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/spf13/cobra"
)

// natsUsersCommand is for who runs the log's server elsewhere, as the fault harness does.
func natsUsersCommand() *cobra.Command {
	return &cobra.Command{
		Use: "nats-users", Short: "Print what each user of the log's server may publish and subscribe to, as JSON", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetIndent("", "  ")
			return out.Encode(suite.Users())
		},
	}
}

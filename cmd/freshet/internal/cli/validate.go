package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/ingestion"
	"github.com/spf13/cobra"
)

func validateCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use:   "validate [DIR]",
		Short: "Check a repository's definitions, without a suite",
		Long: "Check every definition that a push of DIR would bring (freshet.yaml, datasets, features), as ingestion would.\n" +
			"It needs no suite. Each mistake is a line: FILE:LINE: what is wrong, and how to fix it.\n" +
			"It exits with 4 if there is one.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			root, err := os.OpenRoot(dir)
			if errors.Is(err, fs.ErrNotExist) {
				return notFoundf("%w", err)
			}
			if err != nil {
				return err
			}
			defer root.Close() //nolint:errcheck // only read from
			problems, err := ingestion.Validate(root.FS())
			if err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			if c.forPrograms() {
				if problems == nil {
					problems = []events.Problem{} // an empty list, not null
				}
				if err := c.encodeValue(cmd.OutOrStdout(), map[string]any{"items": problems}); err != nil {
					return err
				}
			} else {
				for _, p := range problems {
					cmd.Println(clean(p.String()))
				}
			}
			switch len(problems) {
			case 0:
				if !c.forPrograms() {
					cmd.Println("no mistakes")
				}
				return nil
			case 1:
				return sayNo(fmt.Errorf("%s has 1 mistake", dir))
			}
			return sayNo(fmt.Errorf("%s has %d mistakes", dir, len(problems)))
		},
	}
}

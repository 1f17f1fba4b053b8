package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/demo"
	"github.com/freshet-io/freshet/libs/telemetry"
	"github.com/spf13/cobra"
)

func demoCommand() *cobra.Command {
	var (
		o                demo.Options
		keep, exit       bool
		level, directory string
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the main job on real flights",
		Long: "Run the main job on real flights of January 2001: a suite with everything embedded, on a clock that the demo moves.\n" +
			"At a terminal it stays up after the last day; without a terminal, or with --exit, it exits.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := telemetry.Logger(os.Stderr, level, "text")
			if err != nil {
				return err
			}
			o.Logger, o.Out, o.DataDir = logger, cmd.OutOrStdout(), directory
			if info, err := os.Stdout.Stat(); err == nil {
				o.TTY = info.Mode()&os.ModeCharDevice != 0
			}
			o.Stay, o.Kept = o.TTY && !exit, keep || directory != ""
			if directory == "" {
				base := filepath.Join(os.TempDir(), "freshet-demo-"+time.Now().Format("20060102-150405")) //nolint:forbidigo // names a directory
				if err := os.MkdirAll(base, 0o755); err != nil {
					return err
				}
				o.DataDir = base
				if !keep {
					defer func() { _ = os.RemoveAll(base) }()
				}
			} else if entries, err := os.ReadDir(directory); err == nil && len(entries) > 0 {
				return fmt.Errorf("%s is not empty: the demo needs an empty directory; name another one, or start this one with freshet up --data-dir %s",
					directory, directory)
			}
			return demo.Run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Days, "days", 21, "days to run, from 6 January 2001; 26 at most")
	flags.StringVar(&o.JSON, "json", "", "write a report of the run to this file")
	flags.BoolVar(&keep, "keep", false, "keep the data directory that the demo made")
	flags.BoolVar(&exit, "exit", false, "exit after the last day, at a terminal too")
	flags.StringVar(&directory, "data-dir", "", "an empty directory for all data (default: a new one, removed at the end)")
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "a loopback address; port 0 for any free one")
	flags.StringVar(&level, "log-level", "error", "debug, info, warn or error")
	complete(cmd, "days", nothing)
	complete(cmd, "listen", nothing)
	complete(cmd, "log-level", fixed(logLevels...))
	return cmd
}

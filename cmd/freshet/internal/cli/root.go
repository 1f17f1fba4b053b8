package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

const defaultURL = "http://127.0.0.1:8080"

// Root is the freshet command.
func Root() *cobra.Command {
	c := &client{}
	root := &cobra.Command{
		Use:           "freshet",
		Short:         "Freshet: event-driven MLOps, from a commit to a watched model",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(os.Stdout) // cobra would print to standard error
	root.SetOut(os.Stdout) // what commands print is their result, not a complaint
	flags := root.PersistentFlags()
	flags.StringVar(&c.url, "url", fromEnv("FRESHET_URL", defaultURL), "where a suite answers")
	flags.StringVarP(&c.namespace, "namespace", "n", fromEnv("FRESHET_NAMESPACE", "default"), "namespace")
	flags.StringVarP(&c.output, "output", "o", "table", "table or json")
	flags.DurationVar(&c.timeout, "timeout", 30*time.Second, "for one answer of the suite")
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "act", Title: "Act:"},
	)
	in := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	in("run", upCommand(), demoCommand(), infraCommand(), backupCommand(), restoreCommand())
	in("look", eventsCommand(c), whyCommand(c), impactCommand(c), asOfCommand(c), ripplesCommand(c), modelsCommand(c), versionsCommand(c), runsCommand(c),
		datasetsCommand(c), consoleCommand(c), rolloutsCommand(c), environmentsCommand(c), alertsCommand(c), windowsCommand(c), statusCommand(c))
	in("act", dataCommand(c), reposCommand(c), approvalsCommand(c), approveCommand(c), denyCommand(c), trainCommand(c),
		rollbackCommand(c), promoteCommand(c), replayCommand(c), validateCommand(c))
	in("look", auditCommand(c))
	root.AddCommand(natsUsersCommand())
	root.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.Println(version())
			return nil
		},
	})
	showUsage(root)
	return root
}

// showUsage makes complaints about arguments say which there are.
func showUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fmt.Errorf("%w\nusage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		showUsage(child)
	}
}

// version is what the Go toolchain recorded of this build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "freshet, built without version information"
	}
	out := "freshet " + info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			out += " (" + s.Value + ")"
		}
	}
	return out + ", " + info.GoVersion
}

func fromEnv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// defaultDataDir is where a suite keeps everything unless told otherwise.
func defaultDataDir() string {
	if dir := os.Getenv("FRESHET_DATA_DIR"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "freshet")
	}
	if os.Geteuid() == 0 {
		return "/var/lib/freshet/suite"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "freshet-data"
	}
	return filepath.Join(home, ".local", "share", "freshet")
}

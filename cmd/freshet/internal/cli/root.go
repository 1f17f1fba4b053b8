package cli

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
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
	root.SetOut(os.Stdout) // what commands print is their result, not a complaint
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	flags := root.PersistentFlags()
	flags.StringVar(&c.url, "url", fromEnv("FRESHET_URL", defaultURL), "where a suite answers")
	flags.StringVarP(&c.namespace, "namespace", "n", fromEnv("FRESHET_NAMESPACE", "default"), "namespace")
	flags.StringVarP(&c.output, "output", "o", formatTable, strings.Join(formats, ", ")+"; errors are JSON with json and yaml")
	flags.DurationVar(&c.timeout, "timeout", 30*time.Second, "for one answer of the suite; with --wait, how long nothing may move")
	complete(root, "url", nothing)
	complete(root, "namespace", nothing)
	complete(root, "output", fixed(formats...))
	complete(root, "timeout", nothing)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		c.warnings = cmd.ErrOrStderr()
		return checkFormat(c.output)
	}
	in := func(id, title string, commands ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: id, Title: title})
		for _, cmd := range commands {
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	in("suite", "The suite:", upCommand(), demoCommand(), infraCommand(), statusCommand(c), consoleCommand(c), backupsCommand())
	in("data", "Data and code:", reposCommand(c), validateCommand(c), dataCommand(c), datasetsCommand(c), commitsCommand(c), viewsCommand(c))
	in("models", "Models:", modelsCommand(c), versionsCommand(c), trainingSetsCommand(c), runsCommand(c), approvalsCommand(c), rolloutsCommand(c),
		environmentsCommand(c), alertsCommand(c), windowsCommand(c))
	in("log", "The log:", eventsCommand(c), ripplesCommand(c), whyCommand(c), impactCommand(c), asOfCommand(c), replayCommand(c), auditCommand(c),
		checkpointsCommand(c), keysCommand(c))
	root.AddCommand(natsUsersCommand())
	root.AddCommand(&cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.forPrograms() {
				return c.encodeValue(cmd.OutOrStdout(), map[string]string{"version": built()})
			}
			cmd.Println(built())
			return nil
		},
	})
	finish(root)
	return root
}

// resources are all nouns whose names are completed.
func resources() map[string]resource {
	all := map[string]resource{}
	for _, r := range []resource{models, versions, runs, trainingSets, datasets, commits, views, repos, approvals, rollouts, environments, alerts,
		windows, ripples, eventLog, parked, services, checkpoints} {
		all[r.noun] = r
	}
	return all
}

// finish makes complaints about arguments say which there are, and keeps a shell from
// completing by files where no argument is taken.
func finish(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usagef("%w\nusage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	if cmd.Runnable() && !cmd.HasSubCommands() && cmd.ValidArgsFunction == nil && !strings.Contains(cmd.Use, " ") {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, child := range cmd.Commands() {
		finish(child)
	}
}

// built is what the Go toolchain recorded of this build.
func built() string {
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

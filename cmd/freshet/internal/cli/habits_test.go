package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// alone are the commands that are no verb of a noun: they are about the whole suite, or
// about anything that has a name.
var alone = []string{"up", "demo", "infra", "status", "console", "validate", "why", "impact", "as-of", "version", "nats-users"}

// verbs are all that there are. A new one is added here, after a look for one that says it already.
var verbs = []string{"add", "cancel", "check", "check-proof", "deny", "discard", "dump", "export", "give", "list", "log", "parked", "promote", "prove",
	"publish", "rebuild", "replay", "restore", "retry", "rollback", "show", "sign", "start", "tail", "take", "verify", "wait", "what-if"}

// starts are the commands that start a ripple.
var starts = []string{"data publish", "repos add", "runs start", "approvals give", "approvals deny", "rollouts promote", "rollouts rollback"}

// each visits every command under the root, the nouns too.
func each(cmd *cobra.Command, visit func(path string, cmd *cobra.Command)) {
	for _, child := range cmd.Commands() {
		if child.Name() == "help" || child.Name() == "completion" {
			continue
		}
		visit(strings.TrimPrefix(child.CommandPath(), "freshet "), child)
		each(child, visit)
	}
}

func TestEveryCommandHasTheSameHabits(t *testing.T) {
	t.Parallel()
	root := Root()
	require.NotNil(t, root.PersistentFlags().ShorthandLookup("o"))
	seen := map[string]bool{}
	each(root, func(path string, cmd *cobra.Command) {
		seen[path] = true
		noun, verb, has := strings.Cut(path, " ")
		if !has && !cmd.HasSubCommands() {
			require.Contains(t, alone, noun, "it is no verb of a noun")
			return
		}
		if !has {
			require.NotContains(t, alone, noun)
			require.True(t, noun == "data" || noun == "audit" || noun == "replay" || strings.HasSuffix(noun, "s"), "%s: nouns are in the plural", noun)
			return
		}
		require.NotContains(t, verb, " ", "%s: a noun and a verb are enough", path)
		require.Contains(t, verbs, verb, path)
	})
	for _, name := range alone {
		require.True(t, seen[name], "%s is no command any more", name)
	}
	for _, path := range starts {
		require.True(t, seen[path], "%s is no command any more", path)
	}
}

func TestEveryListHasALimitAndAWatchAndEveryRippleCanBeWaitedFor(t *testing.T) {
	t.Parallel()
	each(Root(), func(path string, cmd *cobra.Command) {
		flags := cmd.LocalNonPersistentFlags()
		lists := cmd.Name() == "list" || path == "events parked" || path == "approvals"
		require.Equal(t, lists, flags.Lookup("watch") != nil, path)
		if lists {
			require.NotNil(t, flags.Lookup("limit"), path)
			require.Equal(t, "50", flags.Lookup("limit").DefValue, path)
		}
		require.Equal(t, slices.Contains(starts, path), flags.Lookup("wait") != nil, path)
		if cmd.HasSubCommands() && cmd.Commands()[0].Name() == "list" {
			_, _, err := cmd.Find([]string{"show"})
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == "show" }), "%s: what is listed can be shown", path)
		}
	})
}

// Names are completed wherever a command takes one, and nothing falls back to files but
// where files are taken.
func TestEveryArgumentAndFlagIsCompleted(t *testing.T) {
	t.Parallel()
	files := []string{"audit check-proof", "audit dump", "audit verify", "data publish", "validate"}
	fileFlags := []string{"file", "dir", "picture", "spec", "key", "checkpoint", "json", "data-dir"}
	each(Root(), func(path string, cmd *cobra.Command) {
		if cmd.HasSubCommands() || cmd.Hidden {
			return
		}
		require.Equal(t, !slices.Contains(files, path), cmd.ValidArgsFunction != nil, path)
		for _, f := range flagsOf(cmd) {
			if slices.Contains(fileFlags, f) || cmd.Flags().Lookup(f).Value.Type() == "bool" {
				continue
			}
			_, ok := cmd.GetFlagCompletionFunc(f)
			require.True(t, ok, "%s --%s", path, f)
		}
	})
}

func flagsOf(cmd *cobra.Command) []string {
	var names []string
	for line := range strings.SplitSeq(cmd.LocalNonPersistentFlags().FlagUsages(), "\n") {
		if i := strings.Index(line, "--"); i >= 0 {
			names = append(names, strings.Fields(line[i+2:])[0])
		}
	}
	return names
}

// The help of every command is a script's: a command without one is not held.
func TestEveryCommandsHelpIsHeldByAScript(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("testdata", "script", "help.txtar"))
	require.NoError(t, err)
	each(Root(), func(path string, cmd *cobra.Command) {
		if !cmd.Hidden {
			require.Contains(t, string(b), "\nfreshet "+path+" --help\nstdout '^  freshet "+path+"'\n")
		}
	})
}

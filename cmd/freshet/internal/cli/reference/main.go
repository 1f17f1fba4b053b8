// Command reference writes the reference of the command line from the commands
// themselves: a page, and man pages. It gives the same bytes on every machine: nothing of
// the environment, and no date.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func main() {
	out := flag.String("out", "docs/reference", "directory to write to")
	flag.Parse()
	if err := write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	for _, setting := range os.Environ() { // they are the defaults of flags
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "FRESHET_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	if err := os.Setenv("FRESHET_DATA_DIR", "~/.local/share/freshet"); err != nil { // as most people have it
		return err
	}
	root := cli.Root()
	root.DisableAutoGenTag = true // it has a date
	root.InitDefaultCompletionCmd()
	man := filepath.Join(dir, "man")
	if err := os.RemoveAll(man); err != nil { // of commands that are no more
		return err
	}
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cli.md"), page(root), 0o644); err != nil {
		return err
	}
	return manPages(root, man)
}

// manPages writes one for each command, without the date that cobra puts into each.
func manPages(root *cobra.Command, dir string) error {
	never := time.Time{}
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "Freshet", Manual: "Freshet", Date: &never}, dir); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		b = bytes.Replace(b, []byte(never.Format(`"Jan 2006"`)), []byte(`""`), 1)
		if err := os.WriteFile(file, append(bytes.TrimSpace(b), '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

const intro = `<!-- Generated from the commands by make generate. -->
# Command line

Commands are a noun and a verb: ` + "`freshet rollouts list`, `freshet runs start MODEL`" + `. What is about the whole suite, or about
anything that has a name, is one word: ` + "`freshet up`, `freshet why NAME`" + `. The same habits hold everywhere:

- A version is ` + "`MODEL@3`; `MODEL@latest` and `MODEL@production`" + ` are the newest one, and the one that serves there. A data commit is
  ` + "`DATASET#7`, what serves is `ENVIRONMENT/MODEL`" + `.
- The first six characters of an id are enough, as long as no other id begins so.
- ` + "`-o table`" + ` is for people, ` + "`wide`" + ` has more columns and whole ids, ` + "`json`" + ` and ` + "`yaml`" + ` are for programs.
  At a terminal, states have colours unless ` + "`NO_COLOR`" + ` is set, and a table fits the width; elsewhere nothing is cut.
- ` + "`list`" + ` takes ` + "`--limit`" + `, filters such as ` + "`--model`" + `, and ` + "`--watch`" + `, which prints again whenever something changes.
- What starts a ripple takes ` + "`--wait`" + `: it follows the ripple until nothing more follows, and prints the outcome.
- ` + "`freshet completion SHELL`" + ` prints a script by which a shell completes commands, flags, and names, which the suite is asked for.

`

// page is the whole reference in Markdown.
func page(root *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString(intro + "## Exit codes\n\n| code | when |\n|---|---|\n")
	for _, c := range cli.ExitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.Code, c.When)
	}
	b.WriteString("\nA command that a signal ended has 128 and the signal's number, as shells do. Under `-o json` and `-o yaml` an error is one\n" +
		"JSON object on standard error: `{\"error\": …, \"code\": …}`, with `rule` and `fix` where the suite says them.\n")
	fmt.Fprintf(&b, "\n## Flags of every command\n\n```\n%s```\n", usages(root.PersistentFlags()))
	b.WriteString("\n## Commands\n\n| command | |\n|---|---|\n")
	each(root, func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() {
			name := cmd.CommandPath()
			fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", name, strings.ReplaceAll(name, " ", "-"), strings.ReplaceAll(cmd.Short, "|", `\|`))
		}
	})
	each(root, func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() || cmd.LocalNonPersistentFlags().HasAvailableFlags() {
			section(&b, cmd)
		}
	})
	return append(bytes.TrimSpace(b.Bytes()), '\n')
}

func section(b *bytes.Buffer, cmd *cobra.Command) {
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	fmt.Fprintf(b, "\n### %s\n\n```\n%s\n```\n\n%s\n", cmd.CommandPath(), cmd.UseLine(), fenced(about))
	if cmd.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimSpace(cmd.Example), "\n  ", "\n"))
	}
	if flags := usages(cmd.LocalNonPersistentFlags()); flags != "" {
		fmt.Fprintf(b, "\n```\n%s```\n", flags)
	}
}

// fenced puts indented lines, which are commands, into a fence. Cobra writes headings of its
// own into the text of completion, which are no headings of this page.
func fenced(text string) string {
	var out []string
	in := false
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		code := strings.HasPrefix(line, "\t")
		if code != in && (line != "" || !in) {
			out, in = append(out, "```"), code
		}
		line = strings.TrimPrefix(line, "\t")
		if title, is := strings.CutPrefix(line, "#### "); is && !in {
			line = "**" + strings.TrimSuffix(title, ":") + "**"
		}
		out = append(out, strings.TrimRight(line, " "))
	}
	if in {
		out = append(out, "```")
	}
	return strings.Join(out, "\n")
}

func usages(flags *pflag.FlagSet) string {
	var lines []string
	for line := range strings.SplitSeq(flags.FlagUsages(), "\n") {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return strings.Join(lines, "\n")
}

// each visits the commands that people see, in the order of help.
func each(cmd *cobra.Command, visit func(*cobra.Command)) {
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() && !child.IsAdditionalHelpTopicCommand() {
			visit(child)
			each(child, visit)
		}
	}
}

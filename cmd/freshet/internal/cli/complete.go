package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeWithin is how long a shell waits for names unless --timeout says it: longer is a
// nuisance.
const completeWithin = 1500 * time.Millisecond

// complete says how a flag's value is completed.
func complete(cmd *cobra.Command, flag string, with cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, with); err != nil {
		refuse(cmd, err)
	}
}

// refuse makes a command that was put together wrongly say so, whatever it is asked.
func refuse(cmd *cobra.Command, err error) {
	cmd.RunE = func(*cobra.Command, []string) error { return err }
}

// nothing completes a value of which no names are known: not even by files.
func nothing(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// fixed completes by what is known without a suite.
func fixed(values ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
}

// names completes by the names of a resource's objects, which the suite is asked for. A
// suite that does not answer in time completes nothing.
func (c *client) names(noun string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return c.namesOf(cmd, resources()[noun], begun)
	}
}

func (c *client) namesOf(cmd *cobra.Command, r resource, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	within := completeWithin
	if cmd.Flags().Changed("timeout") {
		within = c.timeout
	}
	ctx, cancel := context.WithTimeout(completionContext(cmd), within)
	defer cancel()
	l, err := r.known(ctx, c)
	if err != nil {
		cobra.CompDebugln(err.Error(), false)
	}
	var found []cobra.Completion
	seen := map[string]bool{}
	for _, i := range l.Items {
		name := r.name(i)
		if name == "" || seen[name] || !strings.HasPrefix(name, begun) {
			continue
		}
		seen[name] = true
		found = append(found, cobra.CompletionWithDesc(name, r.describe(i, name)))
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completionContext is the command's: cobra has none where a shell asks.
func completionContext(cmd *cobra.Command) context.Context {
	if ctx := cmd.Context(); ctx != nil {
		return ctx
	}
	return context.Background()
}

// describe says in a few words which object it is.
func (r resource) describe(i item, name string) string {
	var said []string
	for _, c := range r.columns {
		if value := c.cell(i); value != "" && value != name && !c.id && !c.wide && len(said) < 3 {
			said = append(said, value)
		}
	}
	return strings.Join(said, ", ")
}

// once completes the first argument, and none after it.
func once(with cobra.CompletionFunc) cobra.CompletionFunc { return inTurn(with) }

// inTurn completes arguments by their place.
func inTurn(with ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(with) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return with[len(args)](cmd, args, begun)
	}
}

// either completes by the names of several.
func either(with ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var found []cobra.Completion
		for _, w := range with {
			more, _ := w(cmd, args, begun)
			found = append(found, more...)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

package cli

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/libs/progress"
	"github.com/spf13/cobra"
)

var repos = resource{
	noun: "repos", arg: "REPOSITORY", about: "Git repositories that are watched", path: "/v1/repositories",
	columns: slices.Concat([]column{col("repository", "repository"), col("url", "url"), col("branch", "branch"), state("status", "status"),
		calc("head", short("head")), calc("revision", short("revision")), col("changed", "changed"), col("reason", "reason")},
		wide(col("pushes", "pushes"))),
	filters: []filter{{flag: "status", usage: "only with this status", path: "status",
		values: []string{"connected", "pushed", "committed", "rejected", "unreachable"}}},
	name: firstOf("repository"),
}

func reposCommand(c *client) *cobra.Command {
	return repos.group(c, "Git repositories", reposAdd(c))
}

func reposAdd(c *client) *cobra.Command {
	var branch, name string
	var w waiting
	add := &cobra.Command{
		Use: "add URL", Short: "Watch a Git repository: a directory on this machine, https:// or ssh://", Args: cobra.ExactArgs(1),
		Example: "  freshet repos add ./model --wait",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			where := args[0]
			if info, err := os.Stat(where); err == nil && info.IsDir() {
				if where, err = filepath.Abs(where); err != nil {
					return err
				}
			}
			if name == "" {
				name = strings.ToLower(strings.TrimSuffix(filepath.Base(strings.TrimSuffix(where, "/")), ".git"))
			}
			body := map[string]any{"namespace": c.namespace, "name": name, "url": where, "branch": branch}
			if !w.on {
				return c.act(cmd, "/v1/repositories", body, "watching "+where+" as "+name, nil)
			}
			if _, err := c.post(cmd.Context(), "/v1/repositories", body, nil); err != nil {
				return err
			}
			return c.followPush(cmd, name, &w)
		},
	}
	add.Flags().StringVar(&branch, "branch", "main", "the protected branch")
	add.Flags().StringVar(&name, "name", "", "the repository's name; default: the last part of its URL")
	complete(add, "branch", nothing)
	complete(add, "name", nothing)
	w.flags(add)
	return c.byActor(add)
}

// followPush waits until the repository's head was read, and follows its effects: that
// is a ripple of its own.
func (c *client) followPush(cmd *cobra.Command, name string, w *waiting) error {
	status := ""
	err := c.await(cmd, func(ctx context.Context) (progress.Look, error) {
		n, l, err := repos.find(ctx, c, name)
		if err != nil {
			return progress.Look{}, err
		}
		i := l.Items[n]
		if status = text(i["status"]); status == "unreachable" {
			return progress.Look{}, sayNo(errors.New(name + " cannot be read: " + text(i["reason"])))
		}
		return progress.Look{Done: status == "committed" || status == "rejected", Seen: status + text(i["pushes"])}, nil
	}, func() string { return "repository " + name + " is " + status })
	if err != nil {
		return err
	}
	return c.followHead(cmd, name, w)
}

func (c *client) followHead(cmd *cobra.Command, name string, w *waiting) error {
	id := ""
	err := c.await(cmd, func(ctx context.Context) (progress.Look, error) {
		var l list
		q := url.Values{"trigger": {"code"}, "limit": {"500"}}
		if _, err := c.get(ctx, "/v1/ripples", q, &l); err != nil {
			return progress.Look{}, err
		}
		for _, i := range l.Items {
			if text(i["subject"]) == name && strings.HasSuffix(text(i["root_type"]), ".code_pushed") {
				id = text(i["id"])
				break
			}
		}
		return progress.Look{Done: id != ""}, nil
	}, func() string { return "no push of " + name + " is known" })
	if err != nil {
		return err
	}
	return c.follow(cmd, id, w)
}

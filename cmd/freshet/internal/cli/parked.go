package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

var parked = resource{
	noun: "parked", arg: "EVENT", about: "events that a service could not apply, of all namespaces or of --namespace",
	columns: []column{col("service", "service"), id("event", "id"), calc("type", short("type")),
		col("namespace", "namespace"), col("subject", "subject"), col("reason", "reason"), col("code", "code"), col("since", "time"), col("behind", "behind")},
	filters: []filter{{flag: "service", usage: "only of this service", query: "service", of: "services"}},
	name:    firstOf("id"), ids: []string{"id"}, fetch: fetchParked,
}

// parkedCommands list the events that a service could not apply, and answer them.
func parkedCommands(c *client) []*cobra.Command {
	answer := func(how, short, done string) *cobra.Command {
		return c.byActor(&cobra.Command{
			Use: how + " SERVICE EVENT", Short: short, Args: cobra.ExactArgs(2),
			ValidArgsFunction: inTurn(c.names("services"), c.names("parked")),
			RunE: func(cmd *cobra.Command, args []string) error {
				event, err := c.parkedID(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				path := "/v1/parked/" + url.PathEscape(args[0]) + "/" + url.PathEscape(event) + "/" + how
				return c.act(cmd, path, map[string]any{}, fmt.Sprintf(done, args[0], event), nil)
			},
		})
	}
	list := parked.list(c, "parked")
	bare := list.RunE
	list.RunE = func(cmd *cobra.Command, args []string) error {
		c.anyNamespace = !cmd.Flags().Changed("namespace")
		return bare(cmd, args)
	}
	return []*cobra.Command{list,
		answer("retry", "Retry a parked event", "asked %s to retry %s"),
		answer("discard", "Discard a parked event: the service skips it", "asked %s to discard %s")}
}

// parkedID is the id of the event of a service that begins so. What is not known is asked
// for as it is: the service says that it does not have it.
func (c *client) parkedID(ctx context.Context, service, given string) (string, error) {
	if _, err := c.services(ctx, service); err != nil || len(given) >= wholeID {
		return given, err
	}
	var l list
	if _, err := c.get(ctx, "/v1/parked/"+url.PathEscape(service), nil, &l); err != nil {
		return "", err
	}
	var found []string
	for _, i := range l.Items {
		switch id := text(i["id"]); {
		case id == given:
			return id, nil
		case len(given) >= shortestPart && strings.HasPrefix(id, given):
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return given, nil
	case 1:
		return found[0], nil
	}
	return "", usagef("%q begins the id of %d parked events; write more of it: %s", given, len(found), strings.Join(found, ", "))
}

// fetchParked asks every service of the suite. One that does not answer is named, and
// the others are listed all the same.
func fetchParked(ctx context.Context, c *client, q url.Values) (list, error) {
	services, err := c.services(ctx, q.Get("service"))
	if err != nil {
		return list{}, err
	}
	if only := q.Get("service"); only != "" {
		services = []string{only}
	}
	var out list
	var away []error
	for _, name := range services {
		var l list
		if _, err := c.get(ctx, "/v1/parked/"+url.PathEscape(name), nil, &l); err != nil {
			away = append(away, fmt.Errorf("%s: %w", name, err))
			continue
		}
		for _, i := range l.Items {
			if !c.anyNamespace && c.namespace != i["namespace"] {
				continue
			}
			i["service"] = name
			raw, err := json.Marshal(i)
			if err != nil {
				return list{}, err
			}
			out.Items, out.raw = append(out.Items, i), append(out.raw, raw)
		}
	}
	if len(away) > 0 && len(away) == len(services) {
		return out, errors.Join(away...)
	}
	for _, err := range away {
		c.warn("not asked: " + err.Error())
	}
	return out, nil
}

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// longestLine of an event stream.
const longestLine = 16 << 20

var eventLog = resource{
	noun: "events", arg: "EVENT", about: "events: the newest, or from --after on", path: "/v1/events", limit: true, most: mostLimit,
	columns: []column{col("position", "sequence"), col("time", "time"), calc("type", short("type")), col("subject", "subject"),
		id("ripple", "ripple"), col("hops", "hops"), col("actor", "actor"), id("id", "id")},
	query: url.Values{"order": {"newest"}},
	name:  firstOf("id"), ids: []string{"id"},
	filters: []filter{
		{flag: "type", usage: "only these types, separated by commas; the last part is enough", query: "type"},
		{flag: "subject", usage: "only of this subject", query: "subject"},
		{flag: "ripple", usage: "only of this ripple", query: "ripple", of: "ripples"},
		{flag: "after", usage: "only after this position of the log", query: "after"},
	},
	fetch: fetchEvents,
}

// fetchEvents lists the newest events, to be read downwards as a log is, or those after a
// position.
func fetchEvents(ctx context.Context, c *client, q url.Values) (list, error) {
	if ripple := q.Get("ripple"); ripple != "" {
		id, err := c.rippleID(ctx, ripple)
		if err != nil {
			return list{}, err
		}
		q.Set("ripple", id)
	}
	if q.Has("after") {
		q.Del("order")
	}
	var l list
	_, err := c.get(ctx, "/v1/events", q, &l)
	if q.Get("order") == "newest" {
		l = l.reversed()
	}
	return l, err
}

func eventsCommand(c *client) *cobra.Command {
	verbs := []*cobra.Command{eventLog.list(c, "list"), eventsShow(c), eventsTail(c), eventsReplay(c)}
	return group("events", "The log, and the events that a service could not apply", append(verbs, parkedCommands(c)...)...)
}

func eventsShow(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "show EVENT|POSITION", Short: "Show an event as it is in the log", Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.names("events")),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.eventID(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			raw, err := c.get(cmd.Context(), "/v1/events/"+url.PathEscape(id), nil, &item{})
			if err != nil {
				return err
			}
			return c.encode(cmd.OutOrStdout(), raw)
		},
	}
}

func eventsTail(c *client) *cobra.Command {
	values := map[string]*string{}
	cmd := &cobra.Command{
		Use: "tail", Short: "Print events as they are recorded, until Ctrl-C", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, value := range values {
				set(q, name, *value)
			}
			if ripple := q.Get("ripple"); ripple != "" {
				id, err := c.rippleID(cmd.Context(), ripple)
				if err != nil {
					return err
				}
				q.Set("ripple", id)
			}
			res, err := c.open(cmd.Context(), http.MethodGet, "/v1/events/tail", q, "", nil)
			if err != nil {
				return err
			}
			defer res.Body.Close() //nolint:errcheck // only read from
			lines := bufio.NewScanner(res.Body)
			lines.Buffer(nil, longestLine)
			for lines.Scan() {
				data, ok := strings.CutPrefix(lines.Text(), "data: ")
				if !ok {
					continue
				}
				if err := c.printEvent(cmd.OutOrStdout(), data); err != nil {
					return err
				}
			}
			if cmd.Context().Err() != nil {
				return nil
			}
			if err := lines.Err(); err != nil {
				return fmt.Errorf("the stream ended: %w", err)
			}
			return fmt.Errorf("the suite at %s ended the stream", c.url)
		},
	}
	for _, f := range eventLog.filters {
		values[f.query] = cmd.Flags().String(f.flag, "", f.usage)
		if f.of != "" {
			complete(cmd, f.flag, c.names(f.of))
		} else {
			complete(cmd, f.flag, nothing)
		}
	}
	return cmd
}

// printEvent writes one event of a stream: a line for people, a line of JSON, or one
// document of a stream of YAML.
func (c *client) printEvent(w io.Writer, data string) error {
	switch c.output {
	case formatJSON:
		_, err := fmt.Fprintln(w, data)
		return err
	case formatYAML:
		if _, err := fmt.Fprintln(w, "---"); err != nil {
			return err
		}
		return asYAML(w, json.RawMessage(data))
	}
	var e item
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return fmt.Errorf("the stream has %q: %w", data, err)
	}
	_, err := fmt.Fprintf(w, "%6s  %s  %-42s %-24s %s\n", text(e["sequence"]), text(e["time"]), short("type")(e), text(e["subject"]), text(e["ripple"]))
	return err
}

func eventsReplay(c *client) *cobra.Command {
	var from, to uint64
	cmd := &cobra.Command{
		Use: "replay", Short: "Write the log's events as they are, one line each, in order", Args: cobra.NoArgs,
		Long: "Write the log's events as they are, one line each, in order: the whole log, or a part with --from and --to.\n" +
			"What the log's server no longer has, because the log was trimmed or its server lost it, is read from the archive.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if cmd.Flags().Changed("from") {
				q.Set("from", strconv.FormatUint(from, 10))
			}
			if cmd.Flags().Changed("to") {
				q.Set("to", strconv.FormatUint(to, 10))
			}
			res, err := c.open(cmd.Context(), http.MethodGet, "/v1/events/replay", q, "", nil)
			if err != nil {
				return err
			}
			defer res.Body.Close() //nolint:errcheck // only read from
			if _, err := io.Copy(cmd.OutOrStdout(), res.Body); err != nil {
				return fmt.Errorf("the replay ended early: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().Uint64Var(&from, "from", 0, "first sequence of the log (default 1)")
	cmd.Flags().Uint64Var(&to, "to", 0, "last sequence of the log (default its last)")
	complete(cmd, "from", nothing)
	complete(cmd, "to", nothing)
	return cmd
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

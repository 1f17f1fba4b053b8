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

func eventsCommand(c *client) *cobra.Command {
	commands := []*cobra.Command{eventsList(c), eventsShow(c), eventsTail(c), eventsReplay(c)}
	return group("events", "The log, and the events that a service could not apply", append(commands, parkedCommands(c)...)...)
}

func eventColumns() []column {
	return []column{
		col("sequence", "sequence"), col("time", "time"), {"type", short("type")}, col("subject", "subject"),
		col("ripple", "ripple"), col("hops", "hops"), col("actor", "actor"), col("id", "id"),
	}
}

// eventFilter are the flags that pick events.
type eventFilter struct {
	typ, subject, ripple string
	after                int64
}

func (f *eventFilter) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.typ, "type", "", "only these types, separated by commas; the last part is enough")
	flags.StringVar(&f.subject, "subject", "", "only of this subject")
	flags.StringVar(&f.ripple, "ripple", "", "only of this ripple")
	flags.Int64Var(&f.after, "after", -1, "only after this sequence of the log")
}

func (f *eventFilter) query() url.Values {
	q := url.Values{}
	set(q, "type", f.typ)
	set(q, "subject", f.subject)
	set(q, "ripple", f.ripple)
	if f.after >= 0 {
		q.Set("after", strconv.FormatInt(f.after, 10))
	}
	return q
}

func eventsList(c *client) *cobra.Command {
	var f eventFilter
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List events: the newest, or from --after on", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := f.query()
			q.Set("limit", strconv.Itoa(limit))
			newest := f.after < 0
			if newest {
				q.Set("order", "newest")
			}
			var l list
			raw, err := c.get(cmd.Context(), "/v1/events", q, &l)
			if err != nil {
				return err
			}
			if c.output == "json" {
				return indented(cmd.OutOrStdout(), raw)
			}
			if newest { // read downwards, as a log is
				slices.Reverse(l.Items)
			}
			return table(cmd.OutOrStdout(), l.Items, eventColumns()...)
		},
	}
	f.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many events to list at most")
	return cmd
}

func eventsShow(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "show ID|SEQUENCE", Short: "Show an event as it is in the log", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.eventID(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			raw, err := c.get(cmd.Context(), "/v1/events/"+url.PathEscape(id), nil, &item{})
			if err != nil {
				return err
			}
			return indented(cmd.OutOrStdout(), raw)
		},
	}
}

// eventID is the id of the event at a sequence of the log; anything else is an id.
func (c *client) eventID(ctx context.Context, name string) (string, error) {
	sequence, err := strconv.ParseInt(name, 10, 64)
	if err != nil || sequence < 1 {
		return name, nil
	}
	var l list
	q := url.Values{"after": {strconv.FormatInt(sequence-1, 10)}, "limit": {"50"}}
	if _, err := c.get(ctx, "/v1/events", q, &l); err != nil {
		return "", err
	}
	var ids []string // decisions that were made together share a sequence
	for _, e := range l.Items {
		if text(e["sequence"]) == strconv.FormatInt(sequence, 10) {
			ids = append(ids, text(e["id"]))
		}
	}
	switch len(ids) {
	case 0:
		return name, nil
	case 1:
		return ids[0], nil
	}
	return "", fmt.Errorf("sequence %s holds %d events; name one by its id: %s", name, len(ids), strings.Join(ids, ", "))
}

func eventsTail(c *client) *cobra.Command {
	var f eventFilter
	cmd := &cobra.Command{
		Use: "tail", Short: "Print events as they are recorded, until Ctrl-C", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			res, err := c.open(cmd.Context(), http.MethodGet, "/v1/events/tail", f.query(), "", nil)
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
				if err := printEvent(cmd.OutOrStdout(), c.output, data); err != nil {
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
	f.flags(cmd)
	return cmd
}

func printEvent(w io.Writer, output, data string) error {
	if output == "json" {
		_, err := fmt.Fprintln(w, data)
		return err
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
	return cmd
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

const names = `A name is ENVIRONMENT/MODEL (what serves there), MODEL@VERSION, DATASET#NUMBER (a data
commit), the id of an alert, a run, a rollout, a training set or an event, a position of
the log, or the beginning of a revision, a digest or an id, six characters or more.`

// mostShown events are told in one answer, as the audit service says.
const mostShown = 2000

func whyCommand(c *client) *cobra.Command {
	var when, picture string
	cmd := &cobra.Command{
		Use: "why NAME", Short: "Explain why something is so, back to the commits", Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.told()),
		Long: "Explain why something is so: what serves, a model version, an alert, or any other event,\n" +
			"back along everything that it depends on, to the commits and the people.\n\n" + names,
		Example: "  freshet why production/flight-delays\n  freshet why flight-delays@3\n  freshet why production/flight-delays --picture why.svg",
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			set(q, "at", when)
			return c.graph(cmd, "/v1/why/", args[0], q, picture)
		},
	}
	cmd.Flags().StringVar(&when, "at", "", "what served at this time or position, such as 2001-01-26T00:00:00Z, instead of now")
	cmd.Flags().StringVar(&picture, "picture", "", "draw it into this file, as SVG")
	complete(cmd, "at", nothing)
	return cmd
}

func impactCommand(c *client) *cobra.Command {
	var limit int
	var picture string
	cmd := &cobra.Command{
		Use: "impact NAME", Short: "Show the effects of a commit, or of any event", Args: cobra.ExactArgs(1), ValidArgsFunction: once(c.told()),
		Long: "Show the effects of a data commit, a code commit, or any other event: the training sets with\n" +
			"its rows, runs, versions, verdicts, rollouts, champions and alerts.\n\n" + names,
		Example: "  freshet impact 'flights#7'\n  freshet impact 'flights#7' --picture impact.svg\n" +
			"  freshet impact PREFIX-OF-A-COMMIT   # of its revision; freshet repos list shows the newest",
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if cmd.Flags().Changed("limit") {
				if limit < 1 || limit > mostShown {
					return usagef("--limit %d: 1 to %d is allowed", limit, mostShown)
				}
				q.Set("limit", strconv.Itoa(limit))
			}
			return c.graph(cmd, "/v1/impact/", args[0], q, picture)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, fmt.Sprintf("show at most this many events, 1 to %d, the most important (default 200, "+
		"in a picture 60); all are counted", mostShown))
	complete(cmd, "limit", nothing)
	cmd.Flags().StringVar(&picture, "picture", "", "draw it into this file, as SVG")
	return cmd
}

// told completes what may be asked about.
func (c *client) told() cobra.CompletionFunc {
	return either(c.names("environments"), c.names("versions"), c.names("commits"), c.names("alerts"), c.names("runs"), c.names("rollouts"))
}

// namePath is a route about a name; what serves is two parts of the path.
func namePath(route, name string) string {
	parts := strings.SplitN(name, "/", 2)
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return route + strings.Join(parts, "/")
}

// graph asks for a graph of events and prints it, or draws it into a file.
func (c *client) graph(cmd *cobra.Command, route, name string, q url.Values, picture string) error {
	path := namePath(route, name)
	if picture != "" {
		if ext := filepath.Ext(picture); ext != ".svg" {
			return usagef("--picture %s: the picture is SVG; name a file that ends in .svg", picture)
		}
		q.Set("format", "svg")
		res, err := c.open(cmd.Context(), http.MethodGet, path, q, "", nil)
		if err != nil {
			return err
		}
		defer res.Body.Close() //nolint:errcheck // only read from
		svg, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
		if err != nil {
			return fmt.Errorf("reading the picture: %w", err)
		}
		if err := os.WriteFile(picture, svg, 0o644); err != nil { //nolint:gosec // a picture is for everybody
			return err
		}
		cmd.Printf("wrote %s\n", picture)
		return nil
	}
	var a explanation
	raw, err := c.get(cmd.Context(), path, q, &a)
	if err != nil {
		return err
	}
	if c.forPrograms() {
		return c.encode(cmd.OutOrStdout(), raw)
	}
	return a.print(cmd.OutOrStdout())
}

// explanation is audit's answer about why something is so, or what followed from it.
type explanation struct {
	Question string `json:"question"`
	Event    string `json:"event"`
	Title    string `json:"title"`
	Facts    []struct {
		What string `json:"what"`
		Text string `json:"text"`
	} `json:"facts"`
	Nodes []struct {
		ID       string `json:"id"`
		Sequence int64  `json:"sequence"`
		Time     string `json:"time"`
		Actor    string `json:"actor"`
		Text     string `json:"text"`
		More     bool   `json:"more"`
	} `json:"nodes"`
	Counts    map[string]int `json:"counts"`
	Found     int            `json:"found"`
	Truncated bool           `json:"truncated"`
}

func (a explanation) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintln(&b, clean(a.Title))
	for i, f := range a.Facts {
		what := f.What
		if i > 0 && a.Facts[i-1].What == what {
			what = ""
		}
		fmt.Fprintf(&b, "  %-13s %s\n", what, clean(f.Text))
	}
	if a.Question == "impact" {
		a.count(&b)
	} else {
		fmt.Fprintln(&b, "\nbecause, newest first:")
	}
	for _, n := range a.Nodes {
		if a.Question == "impact" && n.ID == a.Event {
			continue
		}
		fmt.Fprintf(&b, "  %s  %s", text(n.Time), clean(n.Text))
		if n.Actor != "" && !strings.Contains(n.Text, n.Actor) {
			fmt.Fprintf(&b, ", by %s", clean(n.Actor))
		}
		fmt.Fprintf(&b, "  (%d)", n.Sequence)
		if n.More {
			b.WriteString(" …")
		}
		b.WriteByte('\n')
	}
	if a.Truncated {
		fmt.Fprintln(&b, "The answer is too long and is cut here; ask about one of these events to continue.")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// count says how many events of each type came of something.
func (a explanation) count(b *strings.Builder) {
	if a.Found == 0 {
		fmt.Fprintln(b, "\nit has no effects yet")
		return
	}
	types := slices.SortedFunc(maps.Keys(a.Counts), func(x, y string) int {
		if d := a.Counts[y] - a.Counts[x]; d != 0 {
			return d
		}
		return strings.Compare(x, y)
	})
	fmt.Fprintf(b, "\nit has %d effects:\n", a.Found)
	for _, typ := range types {
		fmt.Fprintf(b, "  %6d  %s\n", a.Counts[typ], strings.ReplaceAll(typ[strings.LastIndexByte(typ, '.')+1:], "_", " "))
	}
	if told := len(a.Nodes) - 1; told < a.Found {
		fmt.Fprintf(b, "\nthe %d most important, oldest first:\n", told)
		return
	}
	fmt.Fprintln(b, "\noldest first:")
}

func asOfCommand(c *client) *cobra.Command {
	var model string
	cmd := &cobra.Command{
		Use: "as-of TIME|POSITION|now", Short: "Show how everything stood at a point of the log", Args: cobra.ExactArgs(1),
		ValidArgsFunction: once(fixed("now")),
		Long: "Show how everything stood at a point of the log: models and their rules, champions, the split of\n" +
			"traffic, open rollouts, approvals, trainings and alerts, versions, data commits and features.\n" +
			"A time stands for the last position before the suite's time passed it; without a zone it is UTC.",
		Example: "  freshet as-of 2001-01-12T08:00\n  freshet as-of 812 --model flight-delays\n  freshet as-of now -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			set(q, "model", model)
			var s stood
			raw, err := c.get(cmd.Context(), "/v1/as-of/"+url.PathEscape(args[0]), q, &s)
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.encode(cmd.OutOrStdout(), raw)
			}
			return s.print(cmd.OutOrStdout(), c.screenOf(cmd), c.output == formatWide)
		},
	}
	cmd.Flags().StringVar(&model, "model", "", "only this model, and the data and features that it is made of")
	complete(cmd, "model", c.names("models"))
	return cmd
}

// stood is audit's answer about how everything stood.
type stood struct {
	Position  int64
	Time      string
	Truncated bool
	lists     map[string]list
}

// UnmarshalJSON keeps every list's items as they are.
func (s *stood) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	s.lists = map[string]list{}
	for name, value := range raw {
		var err error
		switch {
		case name == "position":
			err = json.Unmarshal(value, &s.Position)
		case name == "time":
			err = json.Unmarshal(value, &s.Time)
		case name == "truncated":
			err = json.Unmarshal(value, &s.Truncated)
		case len(value) > 0 && value[0] == '[':
			var l list
			err = l.UnmarshalJSON(append(append([]byte(`{"items":`), value...), '}'))
			s.lists[name] = l
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// sections are what is shown, in this order; an empty one is left out.
func sections() []struct {
	name, title string
	columns     []column
} {
	return []struct {
		name, title string
		columns     []column
	}{
		{"environments", "Serving", []column{col("model", "model"), col("environment", "environment"), calc("traffic", trafficSplit), state("state", "state"),
			col("changed", "changed")}},
		{"champions", "Champions", []column{col("model", "model"), col("environment", "environment"), col("version", "version"),
			col("previous", "previous"), col("since", "since")}},
		{"rollouts", "Open rollouts", []column{col("model", "model"), col("environment", "environment"), col("version", "version"), col("kind", "kind"),
			state("state", "state"), col("weight", "weight"), col("steps", "steps"), col("started", "started"), col("moved", "moved")}},
		{"approvals", "Waiting for a person", []column{col("model", "model"), col("version", "version"), col("environment", "environment"), col("since", "since")}},
		{"alerts", "Open alerts", []column{col("model", "model"), col("environment", "environment"), col("name", "name"), col("values", "values"),
			col("raised", "raised"), id("alert", "alert")}},
		{"trainings", "Running trainings", []column{col("model", "model"), col("trigger", "trigger"), calc("revision", short("revision")),
			col("requested", "requested_at"), id("request", "request")}},
		{"models", "Models", []column{col("model", "model"), col("latest", "latest"), col("mode", "mode"), calc("revision", short("revision")),
			calc("spec", short("spec_digest")), calc("gates", rules), col("withdrawn", "withdrawn"), col("changed", "changed_at")}},
		{"versions", "Versions", []column{col("model", "model"), col("version", "version"), state("status", "status"), calc("gates", gates), calc("stages", stages),
			id("run", "run"), col("registered", "registered_at")}},
		{"datasets", "Data", []column{col("dataset", "dataset"), col("commits", "commits"), calc("commit", short("commit")), col("rows", "rows"),
			col("to", "max_time"), calc("committed", func(i item) string { return newest(i, "committed") })}},
		{"views", "Features", []column{col("view", "view"), col("version", "version"), calc("digest", short("digest")), col("commits", "commits"),
			col("rows", "rows"), col("through", "through"), col("computed", "last_computed"), col("error", "error"), col("last error", "last_error")}},
	}
}

func (s stood) print(w io.Writer, on screen, all bool) error {
	if s.Position == 0 {
		_, err := fmt.Fprintln(w, "nothing had happened yet")
		return err
	}
	if _, err := fmt.Fprintf(w, "As of position %d of the log, %s\n", s.Position, text(s.Time)); err != nil {
		return err
	}
	for _, section := range sections() {
		items := s.lists[section.name].Items
		if len(items) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n%s\n", section.title); err != nil {
			return err
		}
		if err := table(w, on, all, items, section.columns...); err != nil {
			return err
		}
	}
	if s.Truncated {
		_, err := fmt.Fprintln(w, "\nThe answer is too long and is cut here; --model shows one model.")
		return err
	}
	return nil
}

// trafficSplit is what each version got.
func trafficSplit(i item) string {
	all, _ := i["traffic"].([]any)
	parts := make([]string, 0, len(all))
	for _, v := range all {
		if m, ok := v.(map[string]any); ok {
			parts = append(parts, fmt.Sprintf("v%s %s %%", text(m["version"]), text(m["per_cent"])))
		}
	}
	return strings.Join(parts, ", ")
}

// rules are the gates as they were declared.
func rules(i item) string {
	all, _ := i["gates"].([]any)
	parts := make([]string, 0, len(all))
	for _, v := range all {
		if m, ok := v.(map[string]any); ok {
			parts = append(parts, text(m["name"])+": "+text(m["cel"]))
		}
	}
	return strings.Join(parts, "; ")
}

func newest(i item, key string) string {
	all, _ := i["newest"].([]any)
	if len(all) == 0 {
		return ""
	}
	m, _ := all[0].(map[string]any)
	return text(m[key])
}

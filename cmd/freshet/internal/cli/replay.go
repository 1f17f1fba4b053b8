package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/spf13/cobra"
)

func replayCommand(c *client) *cobra.Command {
	return group("replay", "Fold the log again: rebuild a service's state, verify it, or replay decisions under other rules", replayRebuild(c),
		replayVerify(c), whatIfCommand(c))
}

func replayRebuild(c *client) *cobra.Command {
	var name, from string
	cmd := &cobra.Command{
		Use: "rebuild", Short: "Rebuild a service's state from the log beside the live one, and swap it in", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := c.replayed(cmd.Context(), name, from)
			if err != nil {
				return err
			}
			if name == "" {
				return usagef("name the service to rebuild with --service; there are %s", strings.Join(names, ", "))
			}
			r, err := c.replay(cmd, name, "rebuild", from)
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.reports(cmd, []eventlog.Report{r})
			}
			cmd.Printf("%s: rebuilt from %s events in %s (%s events/s) and swapped in%s\n", name, grouped(r.Events), seconds(r.Took), grouped(uint64(r.Rate)),
				parkedAnew(r.Parked))
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "service", "", "the service (required)")
	c.replayFlags(cmd, &from)
	return cmd
}

// replayFlags say which service is replayed, and from where.
func (c *client) replayFlags(cmd *cobra.Command, from *string) {
	cmd.Flags().StringVar(from, "from", string(eventlog.FromLog), "log, or archive: Kafka first, then the log")
	complete(cmd, "service", c.names("services"))
	complete(cmd, "from", fixed(string(eventlog.FromLog), string(eventlog.FromArchive)))
}

func parkedAnew(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d events could not be applied and are parked (freshet events parked)", n)
}

func replayVerify(c *client) *cobra.Command {
	var name, from string
	cmd := &cobra.Command{
		Use: "verify", Short: "Fold the log again, decide everything again, and compare with what is live and recorded", Args: cobra.NoArgs,
		Long: "Fold the log again beside the live state, decide on every event again, and compare every table and every decision.\n" +
			"Nothing is changed, and the services keep running. It exits with 4 where anything differs.\n" +
			"A decision that an older version of a service made differently is reported and is no failure.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := c.replayed(cmd.Context(), name, from)
			if err != nil {
				return err
			}
			if name != "" {
				names = []string{name}
			}
			width := len("SERVICE")
			for _, n := range names {
				width = max(width, len(n))
			}
			if !c.forPrograms() {
				cmd.Printf(verifyLine, width, "SERVICE", "EVENTS", "EVENTS/S", "TABLES", "ROWS", "DECISIONS", "RESULT")
			}
			var reports []eventlog.Report
			var failed []error
			var differ []string
			for _, n := range names {
				r, err := c.replay(cmd, n, "verify", from)
				if err != nil {
					if cmd.Context().Err() != nil {
						return err
					}
					failed = append(failed, err)
					continue
				}
				reports = append(reports, r)
				if !r.Equal {
					differ = append(differ, n)
				}
				if !c.forPrograms() {
					printVerified(cmd.OutOrStdout(), width, r)
				}
			}
			if c.forPrograms() {
				if err := c.reports(cmd, reports); err != nil {
					return err
				}
			}
			if len(differ) > 0 {
				failed = append(failed, sayNo(fmt.Errorf("%s: the state differs from the log", strings.Join(differ, ", "))))
			}
			return errors.Join(failed...)
		},
	}
	cmd.Flags().StringVar(&name, "service", "", "only this service")
	c.replayFlags(cmd, &from)
	return cmd
}

const verifyLine = "%-*s  %10s  %9s  %6s  %8s  %9s  %s\n"

// printVerified prints a service's line, and below it what differs.
func printVerified(w io.Writer, width int, r eventlog.Report) {
	result := "equal"
	if !r.Equal {
		result = "DIFFERS"
	}
	if r.Reported > 0 {
		result += fmt.Sprintf(" (%d decisions of another version are different now)", r.Reported)
	}
	tables, rows := "-", "-"
	if r.Tables > 0 {
		tables, rows = grouped(uint64(r.Tables)), grouped(uint64(r.Rows)) //nolint:gosec // counts
	}
	//nolint:errcheck,gosec // as all output; counts
	fmt.Fprintf(w, verifyLine, width, r.Service, grouped(r.Events), grouped(uint64(r.Rate)), tables, rows, grouped(uint64(r.Decisions)),
		result)
	if r.Difference != nil {
		printDifference(w, "first difference", r.Difference)
	}
	if r.Difference == nil && r.Other != nil {
		printDifference(w, "first of another version", r.Other)
	}
}

func printDifference(w io.Writer, title string, d *eventlog.Difference) {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s: %s", title, d.Kind)
	if d.Row != "" {
		fmt.Fprintf(&b, " %s", clean(d.Row))
	}
	if d.Sequence > 0 {
		fmt.Fprintf(&b, ", at event %d %s %s", d.Sequence, clean(d.Type), clean(d.Event))
	}
	fmt.Fprintf(&b, "\n    %s\n", clean(d.Detail))
	then, now := "live", "replayed"
	if d.Kind == eventlog.DiffersDecision {
		then, now = fmt.Sprintf("recorded by version %d", d.Version), "decided now"
		if d.Version == 0 {
			then = "recorded by a version that is not known"
		}
	}
	if fields := differing(d.Live, d.Again); len(fields) > 0 {
		fmt.Fprintf(&b, "    they differ in %s\n", clean(strings.Join(fields, ", ")))
	}
	for _, side := range [][2]string{{then, d.Live}, {now, d.Again}} {
		text := side[1]
		if text == "" {
			text = "nothing"
		}
		fmt.Fprintf(&b, "    %s: %s\n", side[0], clean(text))
	}
	_, _ = io.WriteString(w, b.String())
}

// reports writes them for programs.
func (c *client) reports(cmd *cobra.Command, reports []eventlog.Report) error {
	if reports == nil {
		reports = []eventlog.Report{}
	}
	return c.encodeValue(cmd.OutOrStdout(), map[string]any{"items": reports})
}

// replayed are the suite's services, one of which the name must be.
func (c *client) replayed(ctx context.Context, name, from string) ([]string, error) {
	if o := eventlog.Origin(from); o != eventlog.FromLog && o != eventlog.FromArchive {
		return nil, usagef("--from %q: it is %s or %s", from, eventlog.FromLog, eventlog.FromArchive)
	}
	return c.services(ctx, name)
}

// services are the suite's, one of which the name must be where it is not empty.
func (c *client) services(ctx context.Context, name string) ([]string, error) {
	var suite struct {
		Services []string `json:"services"`
	}
	if _, err := c.get(ctx, "/healthz", nil, &suite); err != nil {
		return nil, err
	}
	if name != "" && !slices.Contains(suite.Services, name) {
		return nil, notFoundf("no service %q runs there: choose from %s", name, strings.Join(suite.Services, ", "))
	}
	return suite.Services, nil
}

// replay runs one replay and shows how far it is.
func (c *client) replay(cmd *cobra.Command, name, what, from string) (eventlog.Report, error) {
	var r eventlog.Report
	res, err := c.open(cmd.Context(), http.MethodPost, "/v1/replay/"+url.PathEscape(name)+"/"+what, url.Values{"from": {from}}, "application/json",
		strings.NewReader("{}"))
	if err != nil {
		return r, err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	meter := newMeter(cmd.ErrOrStderr(), name)
	defer meter.end()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, longestLine)
	event := ""
	for lines.Scan() {
		if e, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			event = e
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		switch event {
		case service.ReplayProgress:
			var p eventlog.Progress
			if err := json.Unmarshal([]byte(data), &p); err != nil {
				return r, fmt.Errorf("the suite's progress cannot be read: %w", err)
			}
			meter.show(p)
		case service.ReplayReport:
			err := json.Unmarshal([]byte(data), &r)
			return r, err
		case service.ReplayError:
			var e struct{ Detail string }
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				return r, err
			}
			return r, fmt.Errorf("%s: %s", name, e.Detail)
		}
	}
	if err := cmd.Context().Err(); err != nil {
		return r, context.Cause(cmd.Context())
	}
	return r, fmt.Errorf("%s: the suite at %s ended the %s: %w", name, c.url, what, errors.Join(io.ErrUnexpectedEOF, lines.Err()))
}

// meter shows progress: a bar at a terminal, a line now and then otherwise.
type meter struct {
	w     io.Writer
	name  string
	bar   bool
	wrote bool
	began time.Time
	last  time.Duration
}

const meterLine = 10 * time.Second

func newMeter(w io.Writer, name string) *meter {
	began := time.Now()
	m := &meter{w: w, name: name, began: began}
	if f, ok := w.(*os.File); ok {
		m.bar = terminal(f)
	}
	return m
}

func (m *meter) show(p eventlog.Progress) {
	took := time.Since(m.began)
	if !m.bar && took-m.last < meterLine {
		return
	}
	m.last = took
	text := m.text(p)
	if m.bar {
		text = "\r\x1b[K" + text
	} else {
		text += "\n"
	}
	m.wrote = true
	_, _ = io.WriteString(m.w, text)
}

func (m *meter) text(p eventlog.Progress) string {
	if p.Phase == eventlog.PhaseCompare {
		return m.name + "  comparing the tables"
	}
	share := 1.0
	if p.Of > 0 {
		share = float64(p.Done) / float64(p.Of)
	}
	rate, left := "", ""
	if p.Took > 0 && p.Done > 0 {
		perSecond := float64(p.Done) / p.Took
		rate = fmt.Sprintf("  %s/s", grouped(uint64(perSecond)))
		left = fmt.Sprintf("  %s left", seconds(float64(p.Of-p.Done)/perSecond))
	}
	bar := ""
	if m.bar {
		const width = 24
		full := int(share * width)
		bar = "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "] "
	}
	what := ""
	if p.Phase == eventlog.PhaseLocate {
		what = "looking for the event behind the difference  "
	}
	return fmt.Sprintf("%s  %s%s%3.0f%%  %s of %s events%s%s", m.name, what, bar, 100*share, grouped(p.Done), grouped(p.Of), rate, left)
}

// end leaves the terminal's line empty for what follows.
func (m *meter) end() {
	if m.bar && m.wrote {
		_, _ = io.WriteString(m.w, "\r\x1b[K")
	}
}

// differing names the fields of two JSON objects that are not the same; none where one
// is no object.
func differing(a, b string) []string {
	var left, right map[string]json.RawMessage
	if json.Unmarshal([]byte(a), &left) != nil || json.Unmarshal([]byte(b), &right) != nil {
		return nil
	}
	var fields []string
	for name, value := range left {
		if !bytes.Equal(value, right[name]) {
			fields = append(fields, name)
		}
	}
	for name := range right {
		if _, both := left[name]; !both {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

// grouped writes a number with commas.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// seconds writes a duration as people say it.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

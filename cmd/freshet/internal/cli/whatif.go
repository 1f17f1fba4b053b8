package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/cmd/freshet/internal/whatif"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/progress"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/ingestion"
	"github.com/spf13/cobra"
)

func whatIfCommand(c *client) *cobra.Command {
	var model, file, from, to string
	cmd := &cobra.Command{
		Use: "what-if", Short: "See which decisions would differ under changed rules",
		Long: "Replay recorded facts under the rules of a changed freshet.yaml: its gates, environments, monitoring, retraining and mode.\n" +
			"Nothing is executed, recorded or published. It prints the first decision that differs in each ripple. What would need\n" +
			"work that never ran is unknown from there on; nothing is invented.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			spec, err := readSpec(file, model)
			if err != nil {
				return err
			}
			q := whatif.Question{Namespace: c.namespace, Spec: spec}
			end, err := c.decided(ctx, &q)
			if err != nil {
				return err
			}
			if err := c.span(ctx, &q, from, to); err != nil {
				return err
			}
			meter := newMeter(cmd.ErrOrStderr(), "what if")
			began := time.Now()
			trials := whatif.Caller(func(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
				return c.open(ctx, method, path, nil, "application/json", body)
			})
			report, err := whatif.Simulate(ctx, trials, c.recorded(ctx, end), q, func(at uint64) {
				meter.show(eventlog.Progress{Done: at - q.From + 1, Of: q.To - q.From + 1, Took: time.Since(began).Seconds()})
			})
			meter.end()
			if err != nil {
				return err
			}
			if c.forPrograms() {
				return c.encodeValue(cmd.OutOrStdout(), report)
			}
			return report.Write(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&model, "model", "", "the model whose rules change")
	flags.StringVar(&file, "spec", "", "the changed freshet.yaml")
	flags.StringVar(&from, "from", "", "where the changed rules begin: a time (RFC 3339, or a date) or a position of the log (default: "+
		"the model's first declaration)")
	flags.StringVar(&to, "to", "", "where the replay ends (default: the end of the log)")
	required(cmd, "model", "spec")
	complete(cmd, "model", c.names("models"))
	complete(cmd, "from", nothing)
	complete(cmd, "to", nothing)
	return cmd
}

// largestSpec is what is read of a freshet.yaml.
const largestSpec = 1 << 20

func readSpec(file, model string) (events.ModelSpec, error) {
	f, err := os.Open(file)
	if err != nil {
		return events.ModelSpec{}, err
	}
	defer f.Close() //nolint:errcheck // only read from
	b, err := io.ReadAll(io.LimitReader(f, largestSpec+1))
	if err != nil {
		return events.ModelSpec{}, err
	}
	if len(b) > largestSpec {
		return events.ModelSpec{}, fmt.Errorf("%s has more than %d bytes", file, largestSpec)
	}
	spec, problems := ingestion.Model(b, model)
	var errs []error
	for _, p := range problems {
		p.File = file
		errs = append(errs, errors.New(clean(p.String())))
	}
	return spec, errors.Join(errs...)
}

// decided finds which services run, and where the log ends now. It waits until what is
// decided up to there is in the log, as long as a service moves, and returns how far that goes.
func (c *client) decided(ctx context.Context, q *whatif.Question) (end uint64, err error) {
	behind := ""
	err = progress.Wait(ctx, c.timeout, func(ctx context.Context) (progress.Look, error) {
		var status suite.Status
		if _, err := c.get(ctx, "/statusz", nil, &status); err != nil {
			return progress.Look{}, err
		}
		maps.DeleteFunc(status.Services, func(_ string, st service.Status) bool { return len(st.Behind) == 0 }) // it does not answer
		if q.To == 0 {
			q.To = status.End
		}
		end, q.Running = status.End, slices.Sorted(maps.Keys(status.Services))
		if !slices.Contains(q.Running, "audit") {
			return progress.Look{}, errors.New("audit is not running, and a replay reads the log through it: start it (freshet up, with audit in --services)")
		}
		behind = ""
		seen := ""
		for _, name := range whatif.Services {
			if st, runs := status.Services[name]; runs && (st.Position < q.To || st.Behind["outbox"] > 0) {
				behind = strings.TrimSpace(fmt.Sprintf("%s has applied the log up to %d of %d %s", name, st.Position, q.To, st.Error))
				seen += fmt.Sprintf("%s and has %d to publish; ", behind, st.Behind["outbox"])
			}
		}
		return progress.Look{Done: behind == "", Seen: seen}, nil
	})
	var stalled *progress.StalledError
	if errors.As(err, &stalled) {
		return 0, timeoutf("%s: ask again once it has caught up", behind)
	}
	return end, err
}

// recorded reads the log up to a position, as often as it is asked to.
func (c *client) recorded(ctx context.Context, to uint64) whatif.Recorded {
	return func(yield func(at uint64, e event.Event) error) error {
		q := url.Values{"from": {"1"}, "to": {strconv.FormatUint(to, 10)}}
		res, err := c.open(ctx, http.MethodGet, "/v1/events/replay", q, "", nil)
		if err != nil {
			return err
		}
		defer res.Body.Close() //nolint:errcheck // only read from
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, longestLine)
		at := uint64(0)
		for lines.Scan() {
			at++
			if bytes.HasPrefix(lines.Bytes(), []byte(`{"foreign":`)) {
				continue // a message that is no event changes nothing
			}
			e, err := (events.Codec{}).Decode(lines.Bytes())
			if err != nil {
				return fmt.Errorf("event %d of the log: %w", at, err)
			}
			if err := yield(at, e); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("the log ended early at %d: %w", at, err)
		}
		if at < to {
			return fmt.Errorf("the log ended early at %d of %d", at, to)
		}
		return nil
	}
}

// span finds the positions that the flags name.
func (c *client) span(ctx context.Context, q *whatif.Question, from, to string) error {
	first, err := whenOrWhere("from", from)
	if err != nil {
		return err
	}
	last, err := whenOrWhere("to", to)
	if err != nil {
		return err
	}
	end := q.To
	for _, m := range []moment{first, last} {
		if m.position > end {
			return usagef("--%s %d: the log ends at %d", m.flag, m.position, end)
		}
	}
	q.From, q.To = first.position, end
	if to != "" {
		q.To = last.position
	}
	var begins, ends time.Time
	err = c.recorded(ctx, end)(func(at uint64, e event.Event) error {
		if at == 1 {
			begins = e.Time()
		}
		ends = e.Time()
		declares := e.Type() == events.TypeModelDeclared && e.Subject() == q.Spec.Model && eventlog.Namespace(e) == q.Namespace
		if q.From == 0 && (from == "" && declares || !first.time.IsZero() && !e.Time().Before(first.time)) {
			q.From = at
		}
		if !last.time.IsZero() && !e.Time().After(last.time) {
			q.To = at
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case q.From == 0 && from == "":
		return notFoundf("the model %s is not declared in the log of namespace %s", q.Spec.Model, c.namespace)
	case q.From == 0:
		return usagef("--from %s: the log ends at %d, %s", from, end, ends.UTC().Format(time.RFC3339))
	case q.To == 0:
		return usagef("--to %s: the log begins at %s", to, begins.UTC().Format(time.RFC3339))
	case q.From > q.To && from == "":
		return usagef("--to %s: the model %s is declared after it, at %d", to, q.Spec.Model, q.From)
	case q.From > q.To:
		return usagef("--to %s (%d of the log) comes before --from %s (%d)", to, q.To, from, q.From)
	}
	return nil
}

// A moment is a time or a position of the log; zero where none was named.
type moment struct {
	flag     string
	time     time.Time
	position uint64
}

func whenOrWhere(flag, s string) (moment, error) {
	if s == "" {
		return moment{}, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n > 0 {
		return moment{flag: flag, position: n}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return moment{flag: flag, time: t}, nil
		}
	}
	return moment{}, usagef("--%s %q is neither a position of the log nor a time such as 2001-01-19 or 2001-01-19T04:00:00Z", flag, s)
}

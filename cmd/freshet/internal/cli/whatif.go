package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/cmd/freshet/internal/whatif"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/ingestion"
	"github.com/spf13/cobra"
)

func whatIfCommand(c *client) *cobra.Command {
	var model, file, from, to string
	cmd := &cobra.Command{
		Use: "what-if --model MODEL --spec FILE [--from TIME|POSITION] [--to TIME|POSITION]", Short: "See which decisions would differ under changed rules",
		Long: "Replay recorded facts under the rules of a changed freshet.yaml: its gates, environments, monitoring, retraining and mode.\n" +
			"Nothing is executed, recorded or published. Printed is the first decision that differs in each ripple. What would need\n" +
			"work that was never done is unknown from there; nothing is invented.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			spec, err := readSpec(file, model)
			if err != nil {
				return err
			}
			q := whatif.Question{Namespace: c.namespace, Spec: spec}
			if q.Running, q.To, err = c.suiteNow(ctx); err != nil {
				return err
			}
			if err := c.span(ctx, &q, from, to); err != nil {
				return err
			}
			meter := newMeter(cmd.ErrOrStderr(), "what if")
			began := time.Now()
			report, err := whatif.Simulate(ctx, func(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
				return c.open(ctx, method, path, nil, "application/json", body)
			}, c.recorded(ctx, q.To), q, func(at uint64) {
				meter.show(eventlog.Progress{Done: at - q.From + 1, Of: q.To - q.From + 1, Took: time.Since(began).Seconds()})
			})
			meter.end()
			if err != nil {
				return err
			}
			if c.output == "json" {
				raw, err := json.Marshal(report)
				if err != nil {
					return err
				}
				return indented(cmd.OutOrStdout(), raw)
			}
			return report.Write(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&model, "model", "", "the model whose rules change")
	flags.StringVar(&file, "spec", "", "the changed freshet.yaml")
	flags.StringVar(&from, "from", "", "where the changed rules begin: a time (RFC 3339, or a date) or a position of the log; the model's first declaration otherwise")
	flags.StringVar(&to, "to", "", "where the replay ends; the log's end otherwise")
	for _, name := range []string{"model", "spec"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			cmd.RunE = func(*cobra.Command, []string) error { return err }
		}
	}
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
		errs = append(errs, fmt.Errorf("%s:%d: %s (%s)", file, p.Line, clean(p.Message), clean(p.Fix)))
	}
	return spec, errors.Join(errs...)
}

// suiteNow is which services run, and where the log ends.
func (c *client) suiteNow(ctx context.Context) (running []string, end uint64, err error) {
	var status struct {
		Services map[string]json.RawMessage `json:"services"`
		End      uint64                     `json:"end"`
	}
	if _, err := c.get(ctx, "/statusz", nil, &status); err != nil {
		return nil, 0, err
	}
	for name := range status.Services {
		running = append(running, name)
	}
	return running, status.End, nil
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
			e, err := (events.Codec{}).Decode(lines.Bytes())
			if err != nil {
				return fmt.Errorf("event %d of the log: %w", at, err)
			}
			if err := yield(at, e); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("the log was cut off at %d: %w", at, err)
		}
		if at < to {
			return fmt.Errorf("the log was cut off at %d of %d", at, to)
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
	if last.position > end {
		return fmt.Errorf("--to %d: the log ends at %d", last.position, end)
	}
	q.From, q.To = first.position, end
	if last.position > 0 {
		q.To = last.position
	}
	if first.position == 0 || !last.time.IsZero() {
		err := c.recorded(ctx, end)(func(at uint64, e event.Event) error {
			declares := e.Type() == events.TypeModelDeclared && e.Subject() == q.Spec.Model
			if q.From == 0 && (first.time.IsZero() && declares || !first.time.IsZero() && !e.Time().Before(first.time)) {
				q.From = at
			}
			if !last.time.IsZero() && !e.Time().After(last.time) {
				q.To = at
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	switch {
	case q.From == 0 && first.time.IsZero():
		return fmt.Errorf("the model %s is not declared in the log of namespace %s", q.Spec.Model, c.namespace)
	case q.From == 0 || q.From > q.To:
		return fmt.Errorf("nothing of the log lies between --from %s and --to %s", from, to)
	}
	return nil
}

// A moment is a time or a position of the log; zero where none was named.
type moment struct {
	time     time.Time
	position uint64
}

func whenOrWhere(flag, s string) (moment, error) {
	if s == "" {
		return moment{}, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n > 0 {
		return moment{position: n}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return moment{time: t}, nil
		}
	}
	return moment{}, fmt.Errorf("--%s %q is neither a position of the log nor a time such as 2001-01-19 or 2001-01-19T04:00:00Z", flag, s)
}

package effect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/ingestion/internal/decide"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
)

// Check reads the files of an arrival, holds them against the dataset's spec, and
// stores the accepted rows, the refused ones with their reasons, a profile and a
// manifest.
type Check struct {
	State   eventlog.Reader
	Objects *objects.Store
	Engine  *duckdb.Engine
	Clock   clock.Clock
	Temp    string
	AtOnce  int // checks at once
}

// Handler is the effect.
func (c *Check) Handler() eventlog.Handler {
	// So many attempts that an outage of some minutes does not reject good rows.
	return eventlog.Handler{Kind: state.EffectCheck, Timeout: 10 * time.Minute, Attempts: 12, Concurrency: max(c.AtOnce, 1), Run: c.run, Failed: c.failed}
}

func (c *Check) run(ctx context.Context, run *eventlog.Run) (event.Event, error) {
	var args state.CheckArgs
	if err := run.Decode(&args); err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	out := events.DataChecked{Dataset: args.Dataset, Arrival: args.Arrival}
	dataset, ok, err := state.DatasetOf(ctx, c.State, run.Namespace, args.Dataset)
	if err != nil {
		return event.Event{}, err
	}
	if !ok {
		out.Error = domain.UnknownDataset
		return events.NewDataChecked(run.Namespace, args.Dataset, out)
	}
	out.Spec = dataset.SpecDigest
	err = c.check(ctx, args, dataset.Spec, &out)
	var schema *errSchema
	switch {
	case errors.Is(err, errUnreadable):
		out = events.DataChecked{Dataset: out.Dataset, Arrival: out.Arrival, Spec: out.Spec, Error: domain.Unreadable}
	case errors.As(err, &schema):
		out = events.DataChecked{Dataset: out.Dataset, Arrival: out.Arrival, Spec: out.Spec, Error: domain.Schema, Rows: out.Rows, Failures: schema.failures}
	case err != nil:
		return event.Event{}, err
	}
	return events.NewDataChecked(run.Namespace, args.Dataset, out)
}

// failed ends a check that could not be made: nothing could be read.
func (c *Check) failed(_ context.Context, run *eventlog.Run, _ error) (event.Event, error) {
	var args state.CheckArgs
	if err := run.Decode(&args); err != nil {
		return event.Event{}, err
	}
	return events.NewDataChecked(run.Namespace, args.Dataset, events.DataChecked{Dataset: args.Dataset, Arrival: args.Arrival, Error: domain.Unreadable})
}

func (c *Check) check(ctx context.Context, args state.CheckArgs, d events.DatasetSpec, out *events.DataChecked) (err error) {
	paths := make([]string, len(args.Files))
	for i, f := range args.Files {
		if paths[i], err = c.Objects.File(ctx, f.Object.Digest); err != nil {
			if errors.Is(err, objects.ErrNotFound) || errors.Is(err, objects.ErrCorrupt) {
				return fmt.Errorf("%w: %w", errUnreadable, err)
			}
			return err
		}
	}
	dir, err := os.MkdirTemp(c.Temp, "check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	accepted, refused := filepath.Join(dir, "accepted.parquet"), filepath.Join(dir, "refused.jsonl")
	s, err := c.Engine.Session(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	f := &findings{}
	if err := c.load(ctx, s, args.Files, paths, d, out, f, accepted, refused); err != nil {
		return err
	}
	if err := c.divide(ctx, s, d, f, out); err != nil {
		return err
	}
	out.Failures = slices.Concat(f.rules, f.whole)
	if out.Quarantined > 0 {
		if err := s.Exec(ctx, fmt.Sprintf(`COPY (SELECT raw.* EXCLUDE (%[1]s), reasons AS __reasons FROM raw
			JOIN (SELECT %[1]s, list(DISTINCT rule ORDER BY rule) AS reasons FROM failures GROUP BY %[1]s) USING (%[1]s)
			WHERE %[1]s IN (SELECT %[1]s FROM refused) ORDER BY %[1]s) TO %[2]s (FORMAT json)`, rowColumn, duckdb.Quote(refused))); err != nil {
			return err
		}
		if out.Quarantine, err = putFile(ctx, c.Objects, refused, "application/x-ndjson"); err != nil {
			return err
		}
	}
	if out.Accepted == 0 {
		return nil
	}
	if _, err := s.Export(ctx, accepted, fmt.Sprintf("SELECT * EXCLUDE (%[1]s) FROM data WHERE %[1]s NOT IN (SELECT %[1]s FROM refused) ORDER BY %[1]s",
		rowColumn)); err != nil {
		return err
	}
	return c.keep(ctx, args, d, accepted, out)
}

// load stages the files and runs every check; from the seal on, SQL that people
// wrote sees nothing but the tables.
func (c *Check) load(ctx context.Context, s *duckdb.Session, files []events.ArrivedFile, paths []string, d events.DatasetSpec,
	out *events.DataChecked, f *findings, writable ...string) error {
	columns, err := stage(ctx, s, files, paths)
	if err != nil {
		return err
	}
	if out.Rows, err = count(ctx, s, "raw"); err != nil {
		return err
	}
	wanted := declaredColumns(d)
	if err := missing(columns, wanted); err != nil {
		return err
	}
	if err := typed(ctx, s, columns, wanted); err != nil {
		return err
	}
	if err := expectations(ctx, s, d, wanted); err != nil {
		return err
	}
	if err := s.Allow(writable...); err != nil {
		return err
	}
	if err := s.Seal(ctx); err != nil {
		return err
	}
	if err := queries(ctx, s, d.Checks, f); err != nil {
		return err
	}
	return tally(ctx, s, f)
}

// divide says which rows are refused. Where failing rows are kept, those without
// a usable row behind them are refused all the same, and too many failing ones
// fail the arrival as they would otherwise.
func (c *Check) divide(ctx context.Context, s *duckdb.Session, d events.DatasetSpec, f *findings, out *events.DataChecked) error {
	where := ""
	if d.Rows == "keep" {
		where = " WHERE hard"
	}
	if err := s.Exec(ctx, "CREATE TABLE refused AS SELECT DISTINCT "+rowColumn+" FROM failures"+where); err != nil {
		return err
	}
	var err error
	if out.Quarantined, err = count(ctx, s, "refused"); err != nil {
		return err
	}
	out.Accepted = out.Rows - out.Quarantined
	if d.Rows == "keep" {
		failing, err := count(ctx, s, "(SELECT DISTINCT "+rowColumn+" FROM failures)")
		if err != nil {
			return err
		}
		if float64(failing) > d.RejectCommitAbove*float64(out.Rows) {
			f.whole = append(f.whole, events.RuleFailure{Rule: decide.WholePrefix + "failing_rows", Rows: failing})
		}
	}
	return nil
}

func count(ctx context.Context, s *duckdb.Session, from string) (int64, error) {
	t, err := s.Select(ctx, "SELECT count(*) FROM "+from)
	if err != nil {
		return 0, err
	}
	return int64(t.Columns[0].Number(0)), nil
}

// keep stores the accepted rows, their profile and the manifest.
func (c *Check) keep(ctx context.Context, args state.CheckArgs, d events.DatasetSpec, path string, out *events.DataChecked) error {
	t, err := parquet.Read(path)
	if err != nil {
		return err
	}
	file, err := putFile(ctx, c.Objects, path, "application/vnd.apache.parquet")
	if err != nil {
		return err
	}
	out.File = &events.DataFile{Object: *file, Rows: int64(t.Rows)}
	out.File.MinTime, out.File.MaxTime = span(t.Column(d.Time))
	if d.Freshness != nil && out.File.MaxTime != nil {
		if age := c.Clock.Now().Sub(*out.File.MaxTime); age > time.Duration(*d.Freshness) {
			// Noted, not refused: an older file may be a backfill that is wanted.
			out.Failures = append(out.Failures, events.RuleFailure{Rule: "freshness"})
		}
	}
	encoded, err := profile(t).Encode()
	if err != nil {
		return err
	}
	if out.Profile, err = put(ctx, c.Objects, encoded, "application/json"); err != nil {
		return err
	}
	out.Manifest, err = putJSON(ctx, c.Objects, manifest{
		Dataset: d.Dataset, Spec: out.Spec, Added: []events.DataFile{*out.File}, Sources: args.Files, Profile: *out.Profile,
		Rows: out.Rows, Accepted: out.Accepted, Quarantined: out.Quarantined, Quarantine: out.Quarantine, Failures: out.Failures,
	})
	return err
}

// manifest lists what one arrival adds to its dataset, and from which files. The
// commits before it are not in it, so that arrivals checked at the same time do
// not depend on each other: commits are chained by their digests.
type manifest struct {
	Dataset     string               `json:"dataset"`
	Spec        string               `json:"spec"`
	Added       []events.DataFile    `json:"added"`
	Sources     []events.ArrivedFile `json:"sources"`
	Profile     events.Object        `json:"profile"`
	Rows        int64                `json:"rows"`
	Accepted    int64                `json:"accepted"`
	Quarantined int64                `json:"quarantined"`
	Quarantine  *events.Object       `json:"quarantine,omitempty"`
	Failures    []events.RuleFailure `json:"failures,omitempty"`
}

func span(c *parquet.Column) (first, last *time.Time) {
	if c == nil || c.Kind != parquet.Time {
		return nil, nil
	}
	for i, micros := range c.Times {
		if !c.Has(i) {
			continue
		}
		t := time.UnixMicro(micros).UTC()
		if first == nil || t.Before(*first) {
			first = &t
		}
		if last == nil || t.After(*last) {
			last = &t
		}
	}
	return first, last
}

// profile describes the accepted rows column by column; times are seconds.
func profile(t *parquet.Table) *statistics.Profile {
	p := &statistics.Profile{Rows: int64(t.Rows)}
	for i := range t.Columns {
		c := &t.Columns[i]
		if strings.HasPrefix(c.Name, "__") {
			continue
		}
		switch c.Kind {
		case parquet.String:
			p.Columns = append(p.Columns, statistics.Strings(c.Name, c.Strings, c.Valid, 100))
		case parquet.Time:
			seconds := make([]float64, len(c.Times))
			for j, micros := range c.Times {
				seconds[j] = float64(micros) / 1e6
			}
			p.Columns = append(p.Columns, statistics.Numbers(c.Name, seconds, c.Valid, statistics.DefaultBins))
		default:
			numbers := make([]float64, t.Rows)
			for j := range numbers {
				numbers[j] = c.Number(j)
			}
			p.Columns = append(p.Columns, statistics.Numbers(c.Name, numbers, c.Valid, statistics.DefaultBins))
		}
	}
	return p
}

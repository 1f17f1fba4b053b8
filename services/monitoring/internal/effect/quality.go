// Package effect is monitoring's slow work: joining the labels that a data commit
// brought with the predictions that were made.
package effect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/freshet-io/freshet/services/monitoring/internal/inbox"
	"github.com/freshet-io/freshet/services/monitoring/internal/measure"
	"github.com/freshet-io/freshet/services/monitoring/internal/state"
	"github.com/freshet-io/freshet/services/monitoring/internal/watch"
)

const (
	qualityTimeout  = 5 * time.Minute
	qualityAttempts = 5
)

// Files gives local, verified copies of objects; *objects.Store does.
type Files interface {
	File(ctx context.Context, digest string) (string, error)
}

// Quality is the work's needs.
type Quality struct {
	DB       eventlog.Reader
	Inbox    *inbox.Inbox
	Profiles *watch.Profiles
	Files    Files
	Engine   *duckdb.Engine
	// Back is how long before its label's time a prediction may have been made.
	Back time.Duration
}

// Handler ends with a window of kind quality, with an error and no numbers where
// the labels cannot be read.
func (q *Quality) Handler() eventlog.Handler {
	return eventlog.Handler{
		Kind: state.QualityKind, Timeout: qualityTimeout, Attempts: qualityAttempts, Concurrency: 1,
		Run: func(ctx context.Context, run *eventlog.Run) (event.Event, error) {
			var args state.QualityArgs
			if err := run.Decode(&args); err != nil {
				return event.Event{}, eventlog.Permanent(err)
			}
			p, err := q.measure(ctx, run.Namespace, args)
			if duckdb.UsersFault(err) {
				err = eventlog.Permanent(err)
			}
			if err != nil {
				return event.Event{}, err
			}
			return events.NewWindowClosed(run.Namespace, args.Model, p)
		},
		Failed: func(_ context.Context, run *eventlog.Run, err error) (event.Event, error) {
			var args state.QualityArgs
			if e := run.Decode(&args); e != nil {
				return event.Event{}, e
			}
			p := window(args)
			p.Error = text(err)
			return events.NewWindowClosed(run.Namespace, args.Model, p)
		},
	}
}

func window(a state.QualityArgs) events.WindowClosed {
	none := int64(0)
	return events.WindowClosed{Model: a.Model, Environment: a.Environment, Kind: domain.Quality, From: a.From.UTC(), To: a.To.UTC(),
		Slices: []events.WindowSlice{}, Drift: []events.ColumnDrift{}, LiveRows: &none}
}

func (q *Quality) measure(ctx context.Context, namespace string, args state.QualityArgs) (events.WindowClosed, error) {
	p := window(args)
	model, err := state.ModelOf(ctx, q.DB, namespace, args.Model)
	if err != nil {
		return p, err
	}
	serves, err := state.WatchOf(ctx, q.DB, namespace, args.Model, args.Environment)
	if err != nil {
		return p, err
	}
	p.Version = &serves.Champion
	key := joinKey(args.Keys, model.Fields)
	if key == "" {
		p.Error = "no key of dataset " + args.Dataset + " is a field of the model's requests: predictions cannot be joined"
		return p, nil
	}
	candidate, err := state.CandidateIn(ctx, q.DB, namespace, args.Model, args.Environment)
	if err != nil {
		return p, err
	}
	reference, err := q.Profiles.Of(ctx, namespace, args.Model, serves.Champion)
	if err != nil {
		return p, err
	}
	labels, err := q.labels(ctx, model, key, args.Files)
	if err != nil {
		return p, err
	}
	if err := q.Inbox.CatchUp(ctx); err != nil {
		return p, err
	}
	join := measure.NewQuality(labels)
	// What is asked after the last of the rows happened predicts none of them.
	if err := q.Inbox.Between(ctx, namespace, args.Model, args.Environment, args.From.Add(-q.Back), args.To.Add(time.Microsecond), false,
		func(r *inbox.Record) error {
			join.Add(r)
			return nil
		}); err != nil {
		return p, err
	}
	fill(&p, join.Verdict(model.Task, model.Prediction, serves.Champion, candidate, reference))
	return p, nil
}

func fill(p *events.WindowClosed, v measure.Verdict) {
	p.LiveRows, p.Slices, p.Drift = &v.Rows, v.Slices, v.Drift
	if len(v.Live) > 0 {
		p.Live, p.Naive = v.Live, v.Naive
	}
}

// joinKey is the dataset's key that requests carry.
func joinKey(keys, fields []string) string {
	for _, k := range keys {
		if slices.Contains(fields, k) {
			return k
		}
	}
	return ""
}

// labels evaluates the model's label over the files that a commit added. The
// label is a person's SQL: it sees these files and nothing else.
func (q *Quality) labels(ctx context.Context, model state.Model, key string, files []events.DataFile) (measure.Labels, error) {
	paths := make([]string, 0, len(files))
	for _, f := range files {
		path, err := q.Files.File(ctx, f.Object.Digest)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	kind := "BOOLEAN"
	if model.Task != measure.Binary {
		kind = "DOUBLE"
	}
	labels := measure.Labels{}
	err := q.Engine.Do(ctx, func(s *duckdb.Session) error {
		if err := s.Files(ctx, "data", paths...); err != nil {
			return err
		}
		if err := s.Seal(ctx); err != nil {
			return err
		}
		table, err := s.Select(ctx, fmt.Sprintf(`SELECT CAST(%s AS VARCHAR) AS key, CAST(CAST((%s) AS %s) AS DOUBLE) AS label FROM data`,
			duckdb.Ident(key), model.Label, kind))
		if err != nil {
			return err
		}
		keys, values := table.Column("key"), table.Column("label")
		if keys == nil || values == nil {
			return errors.New("the label's query gave no columns")
		}
		for i := range table.Rows {
			if keys.Has(i) && values.Has(i) {
				labels[keys.Strings[i]] = values.Floats[i]
			}
		}
		return nil
	})
	return labels, err
}

// text is an error as an event may carry it.
func text(err error) string {
	s := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "?"), "\x00", "")
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "")
	}
	return s
}

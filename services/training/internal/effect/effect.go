// Package effect does training's slow and unsafe work: it executes a job in a
// child process, and measures what the job left. Each ends by recording a fact.
package effect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/training/internal/executor"
	"github.com/freshet-io/freshet/services/training/internal/state"
)

// Reasons of run_failed that are not the executor's.
const (
	noModel     = "no_model"
	badModel    = "bad_model"
	trainingSet = "training_set"
	lost        = "lost"
)

// labelColumn is the label's column in a training set's files.
const labelColumn = statistics.LabelColumn

// Effects holds what the handlers work with.
type Effects struct {
	State    eventlog.Reader
	Objects  *objects.Store
	Executor *executor.Executor
	Builtins map[string]executor.Builtin
	Logs     *Logs
	Logger   *slog.Logger

	TempDir     string // job directories; may be emptied at every start
	Checkpoints string // kept until a run ends
	LogBytes    int
	CodeBytes   int64 // of an unpacked archive
	ModelBytes  int64
	Timeout     time.Duration // the longest that any job may ask for
	Attempts    int
	Jobs        int // at once
}

// Logs are the output of the jobs that run in this process.
type Logs struct{ m sync.Map }

// Of returns a running job's output so far.
func (l *Logs) Of(run string) ([]byte, bool) {
	if o, ok := l.m.Load(run); ok {
		if output, ok := o.(*executor.Output); ok {
			return output.Bytes(), true
		}
	}
	return nil, false
}

// A jobError is a run that failed, with what is known of it.
type jobError struct {
	reason string
	code   *int64
	log    *events.Object
	err    error
}

func (e *jobError) Error() string { return e.err.Error() }
func (e *jobError) Unwrap() error { return e.err }

// load reads the training that an effect is about. One that is over is not worked on.
func (x *Effects) load(ctx context.Context, run *eventlog.Run) (state.Run, error) {
	var args state.Args
	if err := run.Decode(&args); err != nil {
		return state.Run{}, eventlog.Permanent(err)
	}
	r, err := state.RunOf(ctx, x.State, run.Namespace, args.Request)
	if errors.Is(err, state.ErrNotFound) {
		return r, eventlog.Permanent(fmt.Errorf("training %s: %w", args.Request, err))
	}
	if err == nil && r.Final() {
		return r, eventlog.Permanent(fmt.Errorf("training %s is %s", args.Request, r.Status))
	}
	return r, err
}

// failed turns an error into the fact that ends a run badly.
func (x *Effects) failed(ctx context.Context, run *eventlog.Run, cause error) (event.Event, error) {
	var args state.Args
	if err := run.Decode(&args); err != nil {
		return event.Event{}, err
	}
	r, err := state.RunOf(ctx, x.State, run.Namespace, args.Request)
	if err != nil {
		return event.Event{}, err
	}
	p := events.RunFailed{Run: r.ID, Model: r.Model, Request: r.Request, Reason: lost, Attempts: int64(run.Attempt)}
	if built, err := r.Built(); err == nil {
		p.TrainingSet = built.TrainingSet
	}
	var j *jobError
	if errors.As(cause, &j) {
		p.Reason, p.ExitCode, p.Log = j.reason, j.code, j.log
	}
	x.forget(r.ID)
	return events.NewRunFailed(run.Namespace, r.Model, p)
}

// Refuse ends a run that has no training set.
func (x *Effects) Refuse() eventlog.Handler {
	return eventlog.Handler{
		Kind: state.RefuseKind, Timeout: time.Minute, Attempts: 3, Concurrency: 4,
		Run: func(ctx context.Context, run *eventlog.Run) (event.Event, error) {
			return x.failed(ctx, run, &jobError{reason: trainingSet, err: errors.New("no training set")})
		},
		Failed: x.failed,
	}
}

func object(ref objects.Ref, mediaType string) events.Object {
	return events.ObjectOf(ref.Digest, ref.Size, mediaType)
}

// finite leaves out what an event must not hold.
func finite(metrics map[string]float64) map[string]float64 {
	out := make(map[string]float64, len(metrics))
	for name, v := range metrics {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			out[name] = v
		}
	}
	return out
}

func columnNames(columns []events.FeatureColumn) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return names
}

func split(built events.TrainingSetBuilt, name string) *events.Split {
	for i := range built.Splits {
		if built.Splits[i].Name == name {
			return &built.Splits[i]
		}
	}
	return nil
}

// builtin reports whether the suite has a trainer of this name.
func (x *Effects) builtin(name string) error {
	if _, ok := x.Builtins[name]; !ok {
		return fmt.Errorf("there is no builtin trainer %q", name)
	}
	return nil
}

package effect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/services/training/internal/executor"
	"github.com/freshet-io/freshet/services/training/internal/job"
	"github.com/freshet-io/freshet/services/training/internal/state"
)

// Run executes a training's job and collects what it leaves.
func (x *Effects) Run() eventlog.Handler {
	return eventlog.Handler{
		Kind: state.RunKind, Attempts: x.Attempts, Concurrency: x.Jobs,
		// Above every job's own limit, which gives the better reason.
		Timeout: x.Timeout + x.Executor.Grace + 10*time.Minute,
		Run:     x.run,
		Failed:  x.failed,
	}
}

func (x *Effects) run(ctx context.Context, run *eventlog.Run) (event.Event, error) {
	r, err := x.load(ctx, run)
	if err != nil {
		return event.Event{}, err
	}
	requested, err := r.Requested()
	if err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	built, err := r.Built()
	if err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	started, err := events.NewRunStarted(run.Namespace, r.Model, events.RunStarted{
		Run: r.ID, Model: r.Model, Request: r.Request, TrainingSet: built.TrainingSet})
	if err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	if _, err := run.Record(ctx, 1, started); err != nil {
		return event.Event{}, err
	}

	directory := filepath.Join(x.TempDir, "runs", fmt.Sprintf("%s-%d", r.ID, run.Attempt))
	defer func() { _ = os.RemoveAll(directory) }()
	output := executor.NewOutput(x.LogBytes)
	x.Logs.m.Store(r.ID, output)
	defer x.Logs.m.Delete(r.ID)

	j, err := x.prepare(ctx, directory, r, requested, built)
	if err != nil {
		return event.Event{}, x.unprepared(ctx, output, err)
	}
	began := time.Now() //nolint:forbidigo // how long it took, not when it was
	err = x.Executor.Run(ctx, j, output)
	seconds := time.Since(began).Seconds()
	if ctx.Err() != nil {
		return event.Event{}, ctx.Err()
	}
	log, putErr := x.Objects.PutBytes(ctx, output.Bytes())
	if putErr != nil {
		return event.Event{}, putErr
	}
	kept := object(log, "text/plain; charset=utf-8")
	if err != nil {
		return event.Event{}, failure(err, &kept)
	}
	return x.collect(ctx, directory, r, requested, built, kept, seconds)
}

// failure makes the executor's verdict the run's.
func failure(err error, log *events.Object) error {
	var f *executor.Failure
	if !errors.As(err, &f) {
		return err // the child could not be started: worth another try
	}
	code := int64(f.Code)
	failed := &jobError{reason: f.Reason, code: &code, log: log, err: f}
	if f.Again {
		return failed
	}
	return eventlog.Permanent(failed)
}

// unprepared keeps the reason in the run's log, where a person looks for it.
func (x *Effects) unprepared(ctx context.Context, output *executor.Output, err error) error {
	if !errors.Is(err, executor.ErrUnsafe) && !errors.Is(err, errNothingToRun) {
		return err
	}
	_, _ = fmt.Fprintln(output, "freshet:", err)
	log, putErr := x.Objects.PutBytes(ctx, output.Bytes())
	if putErr != nil {
		return putErr
	}
	kept := object(log, "text/plain; charset=utf-8")
	return eventlog.Permanent(&jobError{reason: executor.Exit, log: &kept, err: err})
}

var errNothingToRun = errors.New("there is nothing to run")

// prepare lays out a job's directory: its code, its inputs, its manifest.
func (x *Effects) prepare(ctx context.Context, directory string, r state.Run, requested events.TrainingRequested,
	built events.TrainingSetBuilt) (executor.Job, error) {
	spec := requested.Spec.Training
	j := executor.Job{
		Directory: directory, Work: filepath.Join(directory, "code"), Manifest: filepath.Join(directory, "job.json"),
		Command: spec.Command, CPU: spec.CPU, MemoryBytes: spec.MemoryBytes, Timeout: min(time.Duration(spec.Timeout), x.Timeout),
	}
	if j.Timeout <= 0 {
		j.Timeout = x.Timeout
	}
	clock, _, err := state.TimeOf(ctx, x.State, r.Namespace, requested.Spec.Examples.Dataset)
	if err != nil {
		return j, err
	}
	checkpoint := filepath.Join(x.Checkpoints, r.ID)
	j.Keep = []string{checkpoint}
	m := job.Manifest{
		Version: job.Version, Run: r.ID, Model: r.Model, Namespace: r.Namespace, Trigger: r.Trigger, Task: requested.Spec.Task,
		Builtin: spec.Builtin, Columns: columnNames(built.Columns), Label: labelColumn, Time: clock,
		Params: spec.Params, Seed: requested.Seed, Output: filepath.Join(directory, "output"), Checkpoint: checkpoint,
		Resources: job.Resources{CPU: spec.CPU, MemoryBytes: spec.MemoryBytes, TimeoutSeconds: j.Timeout.Seconds(), GraceSeconds: x.Executor.Grace.Seconds()},
	}
	if m.Params == nil {
		m.Params = map[string]any{}
	}
	for _, d := range []string{j.Work, m.Output, checkpoint, filepath.Join(directory, "home"), filepath.Join(directory, "tmp"),
		filepath.Join(directory, "inputs")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return j, err
		}
	}
	switch {
	case len(spec.Command) > 0:
		m.Code = &job.Code{Repository: requested.Code.Repository, Revision: requested.Code.Revision, Path: j.Work}
		if err := x.unpack(ctx, requested.Code.Archive.Digest, j.Work); err != nil {
			return j, err
		}
	case spec.Builtin != "":
		if err := x.builtin(spec.Builtin); err != nil {
			return j, fmt.Errorf("%w: %w", errNothingToRun, err)
		}
		j.Builtin = spec.Builtin
	default:
		return j, fmt.Errorf("%w: neither a command nor a builtin", errNothingToRun)
	}
	// Never the test split: what a gate reads is measured, not claimed.
	for _, name := range []string{"train", "validation"} {
		s := split(built, name)
		if s == nil {
			continue
		}
		path := filepath.Join(directory, "inputs", name+".parquet")
		if err := x.copyObject(ctx, s.File.Digest, path); err != nil {
			return j, err
		}
		m.Inputs = append(m.Inputs, job.Input{Name: built.TrainingSet, Split: name, Rows: s.Rows,
			Files: []job.File{{URI: s.File.URI, Digest: s.File.Digest, Size: s.File.Size, Path: path}}})
	}
	if err := x.baseModel(ctx, directory, r, requested.Spec, &m); err != nil {
		return j, err
	}
	// MLflow's file store: a job has no network to log over.
	j.Environment = []string{"MLFLOW_TRACKING_URI=file://" + filepath.Join(m.Output, "mlruns"), "MLFLOW_EXPERIMENT_NAME=" + r.Model}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return j, err
	}
	return j, os.WriteFile(j.Manifest, b, 0o600)
}

// baseModel gives a command the champion to start from, where there is one.
func (x *Effects) baseModel(ctx context.Context, directory string, r state.Run, spec events.ModelSpec, m *job.Manifest) error {
	if m.Builtin != "" {
		return nil
	}
	champion, err := x.champion(ctx, r, spec)
	if err != nil || champion == nil {
		return err
	}
	path := filepath.Join(directory, "inputs", "base.onnx")
	if err := x.copyObject(ctx, champion.Artifact, path); err != nil {
		return err
	}
	m.BaseModel = &job.BaseModel{Version: champion.Version, Path: path}
	return nil
}

// champion is that of the model's last environment: production.
func (x *Effects) champion(ctx context.Context, r state.Run, spec events.ModelSpec) (*state.Champion, error) {
	if len(spec.Environments) == 0 {
		return nil, nil
	}
	return state.ChampionOf(ctx, x.State, r.Namespace, r.Model, spec.Environments[len(spec.Environments)-1].Environment)
}

func (x *Effects) unpack(ctx context.Context, digest, directory string) error {
	archive, err := x.Objects.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	return executor.Unpack(archive, directory, x.CodeBytes)
}

// copyObject gives a job a file of its own: the store's must not change.
func (x *Effects) copyObject(ctx context.Context, digest, path string) error {
	from, err := x.Objects.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// collect takes what a job left: a graph that can be scored and fits the training
// set, and its claims.
func (x *Effects) collect(ctx context.Context, directory string, r state.Run, requested events.TrainingRequested, built events.TrainingSetBuilt,
	log events.Object, seconds float64) (event.Event, error) {
	output := filepath.Join(directory, "output")
	refuse := func(reason string, err error) (event.Event, error) {
		code := int64(0)
		note := fmt.Appendf(nil, "\nfreshet: %v\n", err)
		if b, getErr := x.Objects.Get(ctx, log.Digest, int64(x.LogBytes)*2); getErr == nil {
			if ref, putErr := x.Objects.PutBytes(ctx, append(b, note...)); putErr == nil {
				log = object(ref, log.MediaType)
			}
		}
		return event.Event{}, eventlog.Permanent(&jobError{reason: reason, code: &code, log: &log, err: err})
	}
	model, err := readFile(output, job.ModelFile, x.ModelBytes)
	if err != nil {
		return refuse(noModel, fmt.Errorf("the job left no %s: %w", job.ModelFile, err))
	}
	if err := fits(model, columnNames(built.Columns)); err != nil {
		return refuse(badModel, err)
	}
	var metrics map[string]float64
	if b, err := readFile(output, job.MetricsFile, 1<<20); err == nil {
		if err := json.Unmarshal(b, &metrics); err != nil {
			x.Logger.Info("a job's metrics are not an object of numbers", "run", r.ID, "error", err)
			metrics = nil
		}
	}
	artifact, err := x.Objects.PutBytes(ctx, model)
	if err != nil {
		return event.Event{}, err
	}
	x.forget(r.ID)
	return events.NewRunCompleted(r.Namespace, r.Model, events.RunCompleted{
		Run: r.ID, Model: r.Model, Request: r.Request, TrainingSet: built.TrainingSet,
		Artifact: object(artifact, "application/onnx"), Log: log, Metrics: finite(metrics),
		Environment: environment(requested, filepath.Join(directory, "code")), Seconds: seconds,
	})
}

// readFile reads a regular file below a directory that a job could write to.
func readFile(directory, name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(directory)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", name, limit)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return b, err
}

// fits checks that a model takes the training set's columns.
func fits(model []byte, columns []string) error {
	g, err := onnx.Load(model)
	if err != nil {
		return err
	}
	if n := g.Columns(); n != 0 && n != len(columns) {
		return fmt.Errorf("the model takes %d columns, the training set has %d: %s", n, len(columns), strings.Join(columns, ", "))
	}
	if names := g.ColumnNames(); len(names) > 0 && strings.Join(names, "\n") != strings.Join(columns, "\n") {
		return fmt.Errorf("the model's columns are %s; the training set's are %s", strings.Join(names, ", "), strings.Join(columns, ", "))
	}
	return nil
}

// environment says what made the model: programs, versions, digests.
func environment(requested events.TrainingRequested, code string) map[string]string {
	spec := requested.Spec.Training
	out := map[string]string{
		"platform": runtime.GOOS + "/" + runtime.GOARCH,
		"archive":  requested.Code.Archive.Digest,
	}
	if spec.Builtin != "" {
		out["builtin"], out["go"] = spec.Builtin, runtime.Version()
		if info, ok := debug.ReadBuildInfo(); ok {
			out["freshet"] = info.Main.Version
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					out["freshet_revision"] = s.Value
				}
			}
		}
	} else {
		out["command"] = strings.Join(spec.Command, " ")
	}
	for k, v := range spec.Runtime {
		out["runtime_"+k] = v
	}
	if lock := spec.Runtime["lock"]; lock != "" {
		if b, err := readFile(code, lock, 64<<20); err == nil {
			sum := sha256.Sum256(b)
			out["lock_sha256"] = hex.EncodeToString(sum[:])
		}
	}
	for k, v := range out {
		if len(v) > 1024 {
			out[k] = v[:1024]
		}
	}
	return out
}

// forget removes what is kept between a run's attempts.
func (x *Effects) forget(run string) {
	if run == "" || strings.ContainsAny(run, "/.") {
		return
	}
	if err := os.RemoveAll(filepath.Join(x.Checkpoints, run)); err != nil {
		x.Logger.Warn("a run's checkpoints are left behind", "run", run, "error", err)
	}
}

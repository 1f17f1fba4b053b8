package state

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/training/internal/domain"
	"github.com/jackc/pgx/v5"
	"github.com/robfig/cron/v3"
)

// Kinds of effects.
const (
	RunKind     = "run"     // execute the job
	MeasureKind = "measure" // score what it left
	RefuseKind  = "refuse"  // say that there is nothing to run it on
)

// Args name the training that an effect works on.
type Args struct {
	Request string `json:"request"`
}

// Register adds every apply to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Apply(f, modelDeclared)
	eventlog.Apply(f, modelWithdrawn)
	eventlog.Apply(f, codeCommitted)
	eventlog.Apply(f, viewDeclared)
	eventlog.Apply(f, dataCommitted)
	eventlog.Apply(f, trainingAsked)
	eventlog.Apply(f, scheduleTicked)
	eventlog.Apply(f, trainingRequested)
	eventlog.Apply(f, trainingSkipped)
	eventlog.Apply(f, trainingSetBuilt)
	eventlog.Apply(f, trainingSetFailed)
	eventlog.Apply(f, runStarted)
	eventlog.Apply(f, runCompleted)
	eventlog.Apply(f, runFailed)
	eventlog.Apply(f, runCancelled)
	eventlog.Apply(f, candidateMeasured)
	eventlog.Apply(f, candidatePassed)
	eventlog.Apply(f, candidateRefused)
	eventlog.Apply(f, versionRegistered)
	eventlog.Apply(f, championChanged)
}

func text(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

func modelDeclared(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelDeclared) error {
	spec, err := text(p.Spec)
	if err != nil {
		return err
	}
	code, err := text(p.Code)
	if err != nil {
		return err
	}
	namespace := eventlog.Namespace(e)
	tx.Exec(`INSERT INTO models (namespace, model, declared, dataset, spec, spec_digest, code, schedule, withdrawn,
			active, waiting, waiting_event, commits_since, without_pass, since_news)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false, '', '', '', 0, 0, 0)
		ON CONFLICT (namespace, model) DO UPDATE SET declared = excluded.declared, dataset = excluded.dataset,
			spec = excluded.spec, spec_digest = excluded.spec_digest, code = excluded.code,
			schedule = excluded.schedule, withdrawn = false`,
		namespace, p.Model, e.ID(), p.Spec.Examples.Dataset, spec, p.SpecDigest, code, p.Spec.Retrain.Schedule)
	if p.TrainingChanged {
		news(tx, namespace, p.Model)
	}
	if p.Spec.Retrain.Schedule == "" {
		tx.CancelTimer(timerName(p.Model))
		return nil
	}
	return setTimer(tx, namespace, p.Model, p.Spec.Retrain.Schedule, e.Time(), 0)
}

// news forgets what counts only until something new arrives.
func news(tx *eventlog.Tx, namespace, model string) {
	tx.Exec(`UPDATE models SET since_news = 0, without_pass = 0 WHERE namespace = $1 AND model = $2`, namespace, model)
}

func timerName(model string) string { return "schedule/" + model }

// setTimer asks for the schedule's first tick after a time. The schedule was
// checked when the model was declared; one that cannot be read, or never comes,
// sets nothing.
func setTimer(tx *eventlog.Tx, namespace, model, schedule string, after time.Time, missed int64) error {
	s, err := cron.ParseStandard(schedule)
	if err != nil {
		return nil
	}
	due := s.Next(after.UTC())
	if due.IsZero() {
		return nil
	}
	fact, err := events.NewScheduleTicked(namespace, model, events.ScheduleTicked{Model: model, Tick: due, Missed: missed})
	if err != nil {
		return err
	}
	tx.SetTimer(eventlog.Timer{Name: timerName(model), Due: due, Fact: fact, Root: true})
	return nil
}

// scheduleTicked sets the next tick. Ticks that passed while nothing ran collapse
// into this one; how many is reported by the next.
func scheduleTicked(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.ScheduleTicked) error {
	namespace := eventlog.Namespace(e)
	var schedule string
	err := tx.QueryRow(ctx, `SELECT schedule FROM models WHERE namespace = $1 AND model = $2 AND NOT withdrawn`, namespace, p.Model).Scan(&schedule)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if schedule == "" {
		return nil
	}
	s, err := cron.ParseStandard(schedule)
	if err != nil {
		return nil
	}
	const countable = 10_000 // a second-by-second count of years would stall the fold
	var missed int64
	for at := s.Next(p.Tick.UTC()); !at.IsZero() && !at.After(e.Time()) && missed < countable; at = s.Next(at) {
		missed++
	}
	after := e.Time()
	if after.Before(p.Tick) {
		after = p.Tick
	}
	return setTimer(tx, namespace, p.Model, schedule, after, missed)
}

func modelWithdrawn(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelWithdrawn) error {
	namespace := eventlog.Namespace(e)
	tx.Exec(`UPDATE models SET withdrawn = true, waiting = '', waiting_event = '' WHERE namespace = $1 AND model = $2`, namespace, p.Model)
	tx.CancelTimer(timerName(p.Model))
	return nil
}

func codeCommitted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CodeCommitted) error {
	for _, v := range p.Views {
		view(tx, eventlog.Namespace(e), v)
	}
	return nil
}

func viewDeclared(_ context.Context, tx *eventlog.Tx, e event.Event, p events.FeatureViewDeclared) error {
	view(tx, eventlog.Namespace(e), p.Spec)
	return nil
}

func view(tx *eventlog.Tx, namespace string, v events.ViewSpec) {
	tx.Exec(`INSERT INTO views (namespace, view, dataset) VALUES ($1, $2, $3)
		ON CONFLICT (namespace, view) DO UPDATE SET dataset = excluded.dataset`, namespace, v.View, v.Dataset)
}

func dataCommitted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.DataCommitted) error {
	namespace := eventlog.Namespace(e)
	tx.Exec(`INSERT INTO datasets (namespace, dataset, commit, number, event, time, zone) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (namespace, dataset) DO UPDATE SET commit = excluded.commit, number = excluded.number, event = excluded.event,
			time = excluded.time, zone = excluded.zone`,
		namespace, p.Dataset, p.Commit, p.Number, e.ID(), p.Spec.Time, p.Spec.Zone)
	tx.Exec(`UPDATE models SET commits_since = commits_since + 1, since_news = 0, without_pass = 0
		WHERE namespace = $1 AND dataset = $2`, namespace, p.Dataset)
	return nil
}

func trainingAsked(_ context.Context, tx *eventlog.Tx, e event.Event, p events.TrainingAsked) error {
	news(tx, eventlog.Namespace(e), p.Model)
	return nil
}

func trainingRequested(_ context.Context, tx *eventlog.Tx, e event.Event, p events.TrainingRequested) error {
	namespace := eventlog.Namespace(e)
	tx.Exec(`INSERT INTO runs (namespace, request, run, model, trigger, status, reason, effect, requested, built, completed,
			log, attempts, requested_at, measured)
		VALUES ($1, $2, '', $3, $4, 'requested', '', '', $5, '', '', '', 0, $6, '')`,
		namespace, e.ID(), p.Model, p.Trigger, string(e.Data()), e.Time())
	// Whatever triggered it, it trains the newest code: no change waits any more.
	tx.Exec(`UPDATE models SET active = $3, last = $4, commits_since = 0, since_news = since_news + 1, waiting = '',
			waiting_event = CASE WHEN $5::text = 'code' THEN declared ELSE '' END
		WHERE namespace = $1 AND model = $2`, namespace, p.Model, e.ID(), e.Time(), p.Trigger)
	return nil
}

func trainingSkipped(_ context.Context, tx *eventlog.Tx, e event.Event, p events.TrainingSkipped) error {
	if p.Trigger != domain.Code {
		return nil
	}
	waits := domain.Remember(p.Trigger, p.Reason)
	tx.Exec(`UPDATE models SET waiting = $3::text, waiting_event = CASE WHEN $3::text = '' THEN '' ELSE declared END
		WHERE namespace = $1 AND model = $2`, eventlog.Namespace(e), p.Model, waits)
	return nil
}

func trainingSetBuilt(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.TrainingSetBuilt) error {
	namespace := eventlog.Namespace(e)
	if open, err := inStatus(ctx, tx, namespace, p.Request, "requested"); err != nil || !open {
		return err
	}
	id := eventlog.EffectID(e.ID(), RunKind, 0)
	tx.Exec(`UPDATE runs SET status = 'built', run = $3, effect = $3, built = $4 WHERE namespace = $1 AND request = $2`,
		namespace, p.Request, id, string(e.Data()))
	tx.Open(eventlog.Effect{Kind: RunKind, Args: Args{Request: p.Request}})
	return nil
}

func trainingSetFailed(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.TrainingSetFailed) error {
	namespace := eventlog.Namespace(e)
	if open, err := inStatus(ctx, tx, namespace, p.Request, "requested"); err != nil || !open {
		return err
	}
	id := eventlog.EffectID(e.ID(), RefuseKind, 0)
	detail := ""
	if p.Detail != nil {
		detail = p.Detail.Digest
	}
	// No job will print anything: what is wrong with the training set is the log.
	tx.Exec(`UPDATE runs SET status = 'built', run = $3, effect = $3, reason = $4, log = $5 WHERE namespace = $1 AND request = $2`,
		namespace, p.Request, id, p.Reason, detail)
	if domain.TooLittleData(p.Reason) {
		// The change is not trained on yet: it waits for the next data commit.
		tx.Exec(`UPDATE models SET waiting = CASE WHEN waiting = '' AND waiting_event <> '' THEN 'data' ELSE waiting END
			WHERE namespace = $1 AND model = $2`, namespace, p.Model)
	}
	tx.Open(eventlog.Effect{Kind: RefuseKind, Args: Args{Request: p.Request}})
	return nil
}

// inStatus reads what a late or foreign event must not overrule.
func inStatus(ctx context.Context, tx *eventlog.Tx, namespace, request string, among ...string) (bool, error) {
	var found bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM runs WHERE namespace = $1 AND request = $2 AND status = ANY($3))`,
		namespace, request, among).Scan(&found)
	return found, err
}

func runStarted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RunStarted) error {
	tx.Exec(`UPDATE runs SET status = 'running', started_at = $3 WHERE namespace = $1 AND request = $2 AND status = 'built'`,
		eventlog.Namespace(e), p.Request, e.Time())
	return nil
}

func runCompleted(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.RunCompleted) error {
	namespace := eventlog.Namespace(e)
	if open, err := inStatus(ctx, tx, namespace, p.Request, "built", "running"); err != nil || !open {
		return err
	}
	tx.Exec(`UPDATE runs SET status = 'completed', effect = $3, completed = $4, log = $5 WHERE namespace = $1 AND request = $2`,
		namespace, p.Request, eventlog.EffectID(e.ID(), MeasureKind, 0), string(e.Data()), p.Log.Digest)
	tx.Open(eventlog.Effect{Kind: MeasureKind, Args: Args{Request: p.Request}})
	return nil
}

func runFailed(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RunFailed) error {
	namespace, log := eventlog.Namespace(e), ""
	if p.Log != nil {
		log = p.Log.Digest
	}
	// A failure for want of data does not count; the reason that trainingSetFailed
	// kept tells it from others.
	tx.Exec(`UPDATE models m SET active = '', without_pass = without_pass +
			CASE WHEN r.reason IN ('too_little_data', 'no_data') THEN 0 ELSE 1 END
		FROM runs r WHERE m.namespace = $1 AND m.model = $2 AND r.namespace = $1 AND r.request = $3 AND m.active = $3
			AND r.status <> 'cancelled'`, namespace, p.Model, p.Request)
	tx.Exec(`UPDATE runs SET status = 'failed', effect = '', ended_at = $3, attempts = $4, log = CASE WHEN $5::text = '' THEN log ELSE $5 END,
			reason = CASE WHEN reason = '' THEN $6::text ELSE $6::text || ': ' || reason END
		WHERE namespace = $1 AND request = $2 AND status <> 'cancelled'`,
		namespace, p.Request, e.Time(), p.Attempts, log, p.Reason)
	return nil
}

func runCancelled(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.RunCancelled) error {
	namespace := eventlog.Namespace(e)
	var request, effect string
	err := tx.QueryRow(ctx, `SELECT request, effect FROM runs WHERE namespace = $1 AND (run = $2 OR request = $2)
		ORDER BY request LIMIT 1`, namespace, p.Run).Scan(&request, &effect)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if effect != "" {
		tx.CancelEffect(effect)
	}
	tx.Exec(`UPDATE runs SET status = 'cancelled', effect = '', reason = 'cancelled', ended_at = $3 WHERE namespace = $1 AND request = $2`,
		namespace, request, e.Time())
	tx.Exec(`UPDATE models SET active = '' WHERE namespace = $1 AND model = $2 AND active = $3`, namespace, p.Model, request)
	return nil
}

func candidateMeasured(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CandidateMeasured) error {
	namespace := eventlog.Namespace(e)
	tx.Exec(`UPDATE runs SET status = 'measured', effect = '', ended_at = $3, measured = $4
		WHERE namespace = $1 AND request = $2 AND status = 'completed'`, namespace, p.Request, e.Time(), e.ID())
	tx.Exec(`UPDATE models SET active = '' WHERE namespace = $1 AND model = $2 AND active = $3`, namespace, p.Model, p.Request)
	return nil
}

func candidatePassed(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CandidatePassed) error {
	tx.Exec(`UPDATE models SET without_pass = 0 WHERE namespace = $1 AND model = $2`, eventlog.Namespace(e), p.Model)
	return nil
}

func candidateRefused(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CandidateRefused) error {
	tx.Exec(`UPDATE models SET without_pass = without_pass + 1 WHERE namespace = $1 AND model = $2`, eventlog.Namespace(e), p.Model)
	return nil
}

func versionRegistered(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionRegistered) error {
	columns, err := text(p.Columns)
	if err != nil {
		return err
	}
	tx.Exec(`INSERT INTO versions (namespace, model, version, run, artifact, columns, trained_through)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		eventlog.Namespace(e), p.Model, p.Version, p.Run, p.Artifact.Digest, columns, p.Lineage.TrainedThrough)
	return nil
}

func championChanged(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ChampionChanged) error {
	tx.Exec(`INSERT INTO champions (namespace, model, environment, version) VALUES ($1, $2, $3, $4)
		ON CONFLICT (namespace, model, environment) DO UPDATE SET version = excluded.version`,
		eventlog.Namespace(e), p.Model, p.Environment, p.Version)
	return nil
}

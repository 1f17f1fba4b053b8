package state

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
)

// QualityKind is the effect that joins labels with predictions.
const QualityKind = "quality"

// QualityArgs is what it works on: the files that one data commit added, for one
// environment of one model.
type QualityArgs struct {
	Model       string            `json:"model"`
	Environment string            `json:"environment"`
	Dataset     string            `json:"dataset"`
	Files       []events.DataFile `json:"files"`
	Keys        []string          `json:"keys"`
	From        time.Time         `json:"from"`
	To          time.Time         `json:"to"`
}

// Register adds every apply to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Apply(f, modelDeclared)
	eventlog.Apply(f, versionRegistered)
	eventlog.Apply(f, dataCommitted)
	eventlog.Apply(f, rolloutStarted)
	eventlog.Apply(f, rolloutStepped)
	eventlog.Apply(f, rolloutCompleted)
	eventlog.Apply(f, rolloutRolledBack)
	eventlog.Apply(f, windowClosed)
	eventlog.Apply(f, alertRaised)
	eventlog.Apply(f, alertResolved)
}

func modelDeclared(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelDeclared) error {
	s := p.Spec
	return upsertModel(tx, eventlog.Namespace(e), s.Model, s.Examples.Dataset, s.Examples.Label, s.Task, s.Prediction, s.Request, s.Monitor, true)
}

func upsertModel(tx *eventlog.Tx, ns, model, dataset, label, task string, prediction, request []events.TypedField, monitor events.MonitorSpec,
	replace bool) error {
	alarms, err := rules(monitor.Alarms)
	if err != nil {
		return err
	}
	names := make([]string, len(request))
	for i, f := range request {
		names[i] = f.Name
	}
	predicts := ""
	if len(prediction) > 0 {
		predicts = prediction[0].Name
	}
	sql := `INSERT INTO models (namespace, model, dataset, label, task, prediction, fields, every, psi, alarms)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (namespace, model) DO NOTHING`
	if replace {
		sql = `INSERT INTO models (namespace, model, dataset, label, task, prediction, fields, every, psi, alarms)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (namespace, model) DO UPDATE SET dataset = excluded.dataset, label = excluded.label, task = excluded.task,
			prediction = excluded.prediction, fields = excluded.fields, every = excluded.every, psi = excluded.psi, alarms = excluded.alarms`
	}
	tx.Exec(sql, ns, model, dataset, label, task, predicts, names, int64(monitor.Window), monitor.PSI, alarms)
	return nil
}

func rules(list []events.Rule) (string, error) {
	if list == nil {
		list = []events.Rule{}
	}
	b, err := json.Marshal(list)
	return string(b), err
}

// A registered version brings what to watch where no repository declares the model.
func versionRegistered(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelVersionRegistered) error {
	ns := eventlog.Namespace(e)
	tx.Exec(`INSERT INTO versions (namespace, model, version, profile) VALUES ($1, $2, $3, $4)
		ON CONFLICT (namespace, model, version) DO UPDATE SET profile = excluded.profile`, ns, p.Model, p.Version, p.Profile.Digest)
	return upsertModel(tx, ns, p.Model, p.ExamplesDataset, p.Label, p.Task, p.Prediction, p.RequestFields, p.Monitor, false)
}

func dataCommitted(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.DataCommitted) error {
	ns := eventlog.Namespace(e)
	keys := p.Spec.Keys
	if keys == nil {
		keys = []string{}
	}
	tx.Exec(`INSERT INTO datasets (namespace, dataset, keys) VALUES ($1, $2, $3)
		ON CONFLICT (namespace, dataset) DO UPDATE SET keys = excluded.keys`, ns, p.Dataset, keys)
	if p.AddedRows == 0 || len(p.Added) == 0 || p.MinTime == nil || p.MaxTime == nil {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT w.model, w.environment FROM watches w JOIN models m ON m.namespace = w.namespace AND m.model = w.model
		WHERE w.namespace = $1 AND m.dataset = $2 AND m.label <> '' ORDER BY w.model, w.environment`, ns, p.Dataset)
	if err != nil {
		return err
	}
	defer rows.Close()
	var open []QualityArgs
	for rows.Next() {
		a := QualityArgs{Dataset: p.Dataset, Files: p.Added, Keys: keys, From: *p.MinTime, To: *p.MaxTime}
		if err := rows.Scan(&a.Model, &a.Environment); err != nil {
			return err
		}
		open = append(open, a)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for i, a := range open {
		tx.Open(eventlog.Effect{Kind: QualityKind, Ordinal: i, Args: a})
	}
	return nil
}

func rolloutStarted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutStarted) error {
	list, err := rules(p.RollbackIf)
	if err != nil {
		return err
	}
	tx.Exec(`INSERT INTO canaries (namespace, rollout, model, environment, version, previous, state, step, stepped, requests, at_least, rules,
			cause, correlation, hops, traceparent)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10, $11, '', '', 0, '') ON CONFLICT (namespace, rollout) DO NOTHING`,
		eventlog.Namespace(e), p.Rollout, p.Model, p.Environment, p.Version, p.Previous, domain.CanaryWaiting, e.Time(),
		p.Requests, int64(p.AtLeast), list)
	return nil
}

func rolloutStepped(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutStepped) error {
	c := eventlog.CauseOf(e)
	tx.Exec(`UPDATE canaries SET state = $3, step = $4, stepped = $5, cause = $6, correlation = $7, hops = $8, traceparent = $9
		WHERE namespace = $1 AND rollout = $2`,
		eventlog.Namespace(e), p.Rollout, domain.CanaryStepping, p.Step, e.Time(), c.ID, c.Correlation, int64(c.Hops), "")
	return nil
}

func rolloutCompleted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutCompleted) error {
	ns := eventlog.Namespace(e)
	end(tx, ns, p.Rollout)
	tx.Exec(`INSERT INTO watches (namespace, model, environment, champion, closed_to) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (namespace, model, environment) DO UPDATE SET champion = excluded.champion`,
		ns, p.Model, p.Environment, p.Version, e.Time())
	return nil
}

func rolloutRolledBack(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RolloutRolledBack) error {
	end(tx, eventlog.Namespace(e), p.Rollout)
	return nil
}

func end(tx *eventlog.Tx, ns, rollout string) {
	tx.Exec(`UPDATE canaries SET state = $3 WHERE namespace = $1 AND rollout = $2`, ns, rollout, domain.CanaryEnded)
}

func windowClosed(_ context.Context, tx *eventlog.Tx, e event.Event, p events.WindowClosed) error {
	ns := eventlog.Namespace(e)
	tx.Exec(`INSERT INTO windows (namespace, id, model, environment, kind, ends, payload) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (namespace, id) DO NOTHING`, ns, e.ID(), p.Model, p.Environment, p.Kind, p.To, string(e.Data()))
	switch {
	case p.Kind == domain.Traffic:
		tx.Exec(`UPDATE watches SET closed_to = $4 WHERE namespace = $1 AND model = $2 AND environment = $3 AND closed_to < $4`,
			ns, p.Model, p.Environment, p.To)
	case p.Kind == domain.Canary && p.Step != nil:
		tx.Exec(`UPDATE canaries SET state = $4 WHERE namespace = $1 AND rollout = $2 AND step = $3 AND state = $5`,
			ns, p.Rollout, *p.Step, domain.CanaryClosed, domain.CanaryStepping)
		return nil
	}
	for _, metric := range sortedKeys(p.Live) {
		tx.Exec(`INSERT INTO live (namespace, model, environment, metric, value) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (namespace, model, environment, metric) DO UPDATE SET value = excluded.value`,
			ns, p.Model, p.Environment, metric, p.Live[metric])
	}
	return nil
}

func alertRaised(_ context.Context, tx *eventlog.Tx, e event.Event, p events.AlertRaised) error {
	tx.Exec(`INSERT INTO alerts (namespace, alert, model, environment, kind, name, payload, raised, resolved)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL) ON CONFLICT (namespace, alert) DO NOTHING`,
		eventlog.Namespace(e), p.Alert, p.Model, p.Environment, p.Kind, p.Name, string(e.Data()), e.Time())
	return nil
}

func alertResolved(_ context.Context, tx *eventlog.Tx, e event.Event, p events.AlertResolved) error {
	tx.Exec(`UPDATE alerts SET resolved = $3 WHERE namespace = $1 AND alert = $2`, eventlog.Namespace(e), p.Alert, e.Time())
	return nil
}

// Package edge answers the registry's HTTP routes. All of them only read; a version
// is made, approved or denied by events alone.
package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/jackc/pgx/v5"
)

// Edge reads the fold.
type Edge struct {
	state eventlog.Reader
	limit int
}

// New returns an edge whose lists hold at most limit items.
func New(state eventlog.Reader, limit int) *Edge { return &Edge{state: state, limit: limit} }

// Register adds the routes.
func (e *Edge) Register(mux *web.Mux) {
	mux.HandleFunc("GET /v1/models", e.answer(e.models))
	mux.HandleFunc("GET /v1/models/{model}", e.answer(e.model))
	mux.HandleFunc("GET /v1/models/{model}/versions", e.answer(e.versions))
	mux.HandleFunc("GET /v1/models/{model}/versions/{version}", e.answer(e.version))
}

// A Model is one row of the list of models.
type Model struct {
	Model        string     `json:"model"`
	Latest       int64      `json:"latest"`
	Withdrawn    bool       `json:"withdrawn"`
	Owner        string     `json:"owner,omitempty"`
	Repository   string     `json:"repository"`
	Revision     string     `json:"revision"`
	Mode         string     `json:"mode"`
	ChangedAt    time.Time  `json:"changed_at"`
	Champions    []Champion `json:"champions"`
	WaitingSince *time.Time `json:"waiting_since,omitempty"` // for a person, the longest
}

// A Champion is what an environment serves.
type Champion struct {
	Environment string    `json:"environment"`
	Version     int64     `json:"version"`
	Previous    *int64    `json:"previous,omitempty"`
	Since       time.Time `json:"since"`
	Event       string    `json:"event"`
}

// A Version is one version with everything it was made from.
type Version struct {
	Model        string          `json:"model"`
	Version      int64           `json:"version"`
	Run          string          `json:"run"`
	Status       string          `json:"status"`
	RegisteredAt time.Time       `json:"registered_at"`
	Event        string          `json:"event"`
	Trigger      string          `json:"trigger"`
	Metrics      metrics         `json:"metrics"`
	Gates        json.RawMessage `json:"gates"`
	Stages       []Stage         `json:"stages"`
	Registered   json.RawMessage `json:"registered,omitempty"` // the whole payload; only when one version is asked for
	Environments json.RawMessage `json:"environments,omitempty"`
	Slices       json.RawMessage `json:"slices,omitempty"`
}

// metrics are the same rows as three predictors saw them.
type metrics struct {
	Candidate json.RawMessage `json:"candidate"`
	Champion  json.RawMessage `json:"champion"`
	Naive     json.RawMessage `json:"naive"`
	Rows      int64           `json:"rows"`
}

// A Stage is where a version stands in one environment.
type Stage struct {
	Environment string    `json:"environment"`
	Stage       string    `json:"stage"`
	Reason      string    `json:"reason,omitempty"`
	At          time.Time `json:"at"`
	Event       string    `json:"event"`
}

var errUnknown = errors.New("unknown")

// answer makes a handler of a query.
func (e *Edge) answer(query func(context.Context, *http.Request, string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := query(r.Context(), r, web.Namespace(r))
		switch {
		case errors.Is(err, errUnknown):
			web.NotFound(w, "%s", err)
		case err != nil:
			web.Unreadable(w, "The registry's state", err)
		default:
			web.JSON(w, http.StatusOK, v)
		}
	}
}

func (e *Edge) models(ctx context.Context, _ *http.Request, namespace string) (any, error) {
	list, err := e.readModels(ctx, namespace, "")
	return web.Items[Model]{Items: list}, err
}

func (e *Edge) model(ctx context.Context, r *http.Request, namespace string) (any, error) {
	name := r.PathValue("model")
	list, err := e.readModels(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w model %q in namespace %q", errUnknown, name, namespace)
	}
	return list[0], nil
}

// readModels reads one model, or all of a namespace when name is empty.
func (e *Edge) readModels(ctx context.Context, namespace, name string) ([]Model, error) {
	rows, err := e.state.Query(ctx, `SELECT m.model, m.latest, m.withdrawn, m.owner, m.repository, m.revision, m.mode, m.changed_at,
			coalesce((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('environment', c.environment, 'version', c.version,
				'previous', c.previous, 'since', to_char(c.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'event', c.event)) ORDER BY c.environment)
				FROM champions c WHERE c.namespace = m.namespace AND c.model = m.model), '[]'),
			(SELECT min(s.at) FROM stages s WHERE s.namespace = m.namespace AND s.model = m.model AND s.stage = 'asked')
		FROM models m WHERE m.namespace = $1 AND ($2 = '' OR m.model = $2) ORDER BY m.model LIMIT $3`, namespace, name, e.limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Model, error) {
		var m Model
		var champions []byte
		if err := row.Scan(&m.Model, &m.Latest, &m.Withdrawn, &m.Owner, &m.Repository, &m.Revision, &m.Mode, &m.ChangedAt,
			&champions, &m.WaitingSince); err != nil {
			return m, err
		}
		return m, json.Unmarshal(champions, &m.Champions)
	})
}

func (e *Edge) versions(ctx context.Context, r *http.Request, namespace string) (any, error) {
	name := r.PathValue("model")
	list, err := e.readVersions(ctx, namespace, name, 0)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		if _, err := e.model(ctx, r, namespace); err != nil {
			return nil, err
		}
	}
	for i := range list {
		list[i].Registered, list[i].Environments, list[i].Slices = nil, nil, nil
	}
	return web.Items[Version]{Items: list}, nil
}

func (e *Edge) version(ctx context.Context, r *http.Request, namespace string) (any, error) {
	name, number := r.PathValue("model"), r.PathValue("version")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil || version < 1 {
		return nil, fmt.Errorf("%w version %q: versions are numbers from 1", errUnknown, number)
	}
	list, err := e.readVersions(ctx, namespace, name, version)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w version %d of model %q in namespace %q", errUnknown, version, name, namespace)
	}
	return list[0], nil
}

// readVersions reads one version, or the newest of a model when version is 0; oldest
// first.
func (e *Edge) readVersions(ctx context.Context, namespace, model string, version int64) ([]Version, error) {
	rows, err := e.state.Query(ctx, `SELECT * FROM (
			SELECT v.model, v.version, v.run, v.status, v.at, v.event, c.trigger,
				v.registered->'candidate'->'metrics', v.registered->'champion', v.registered->'naive'->'metrics', (v.registered->>'rows')::bigint,
				v.gates, v.registered, c.environments, c.slices,
				coalesce((SELECT jsonb_agg(jsonb_build_object('environment', s.environment, 'stage', s.stage, 'reason', s.reason,
					'at', to_char(s.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'event', s.event) ORDER BY s.at, s.environment)
					FROM stages s WHERE s.namespace = v.namespace AND s.model = v.model AND s.version = v.version), '[]')
			FROM versions v JOIN candidates c USING (namespace, model, run)
			WHERE v.namespace = $1 AND v.model = $2 AND ($3 = 0 OR v.version = $3) ORDER BY v.version DESC LIMIT $4) newest
		ORDER BY version`, namespace, model, version, e.limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Version, error) {
		var v Version
		var candidate, champion, naive, gates, registered, environments, slices, stages []byte
		if err := row.Scan(&v.Model, &v.Version, &v.Run, &v.Status, &v.RegisteredAt, &v.Event, &v.Trigger,
			&candidate, &champion, &naive, &v.Metrics.Rows, &gates, &registered, &environments, &slices, &stages); err != nil {
			return v, err
		}
		v.Metrics.Candidate, v.Metrics.Champion, v.Metrics.Naive = candidate, champion, naive
		v.Gates, v.Registered, v.Environments, v.Slices = gates, registered, environments, slices
		return v, json.Unmarshal(stages, &v.Stages)
	})
}

package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/deployment/internal/domain"
	"github.com/freshet-io/freshet/services/deployment/internal/state"
)

// A Version that is loaded and may take traffic.
type Version struct {
	Number     int64
	Columns    []events.FeatureColumn
	Uses       []events.FeatureUse
	Fields     []events.TypedField
	Prediction []events.TypedField

	model  *Model
	digest string
	names  []string // of the columns' features, as the feature server has them
	plan   plan
}

// An Environment as it is served at one instant.
type Environment struct {
	Namespace   string
	Model       string
	Environment string
	Key         string // the request field that labels join by; empty: none
	Champion    *Version
	Candidate   *Version // nil unless a rollout is stepping
	Weight      int64    // of the candidate, per cent
	Rollout     string   // id of the stepping rollout
	Step        int64

	seed  uint64
	joint plan // of champion and candidate together
	last  bool
	stamp string // what of the folded state it was built from
}

// Versions are the numbers that answer, the champion first.
func (e *Environment) Versions() []int64 {
	v := []int64{e.Champion.Number}
	if e.Candidate != nil {
		v = append(v, e.Candidate.Number)
	}
	return v
}

// Snapshot is everything that is served at one instant. It never changes.
type Snapshot struct {
	environments map[string]*Environment // by namespace/model@environment
	models       map[string]*Environment // by namespace/model: the last environment
}

// Find returns what answers to a model's name, or to model@environment.
func (s *Snapshot) Find(namespace, name string) *Environment {
	if strings.Contains(name, "@") {
		return s.environments[namespace+"/"+name]
	}
	return s.models[namespace+"/"+name]
}

// Names are what a namespace serves, sorted.
func (s *Snapshot) Names(namespace string) []string {
	var names []string
	for _, all := range []map[string]*Environment{s.models, s.environments} {
		for k := range all {
			if name, ok := strings.CutPrefix(k, namespace+"/"); ok {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Server keeps the snapshot in step with the folded state.
type Server struct {
	cache   *Cache
	db      eventlog.Reader
	changed func() <-chan struct{}
	logger  *slog.Logger

	current atomic.Pointer[Snapshot]
	behind  atomic.Int64 // environments whose models could not be loaded
}

// NewServer returns a server without a snapshot; it is not ready until the first
// refresh. What changed returns is closed at the state's next change.
func NewServer(cache *Cache, db eventlog.Reader, changed func() <-chan struct{}, logger *slog.Logger) *Server {
	return &Server{cache: cache, db: db, changed: changed, logger: logger}
}

// Snapshot is what is served now, nil before the first refresh.
func (s *Server) Snapshot() *Snapshot { return s.current.Load() }

// Behind is how many environments do not yet serve what the state says.
func (s *Server) Behind(ctx context.Context) (int64, error) {
	now := s.Snapshot()
	if now == nil {
		return 1, nil
	}
	all, err := state.Environments(ctx, s.db, "")
	if err != nil {
		return 0, fmt.Errorf("reading the environments: %w", err)
	}
	var n int64
	for _, folded := range all {
		if folded.Serving == nil {
			continue
		}
		if served := now.environments[id(folded)]; served == nil || served.stamp != stamp(folded) {
			n++
		}
	}
	return n, nil
}

func id(e state.Environment) string { return e.Namespace + "/" + e.Model + "@" + e.Environment }

// Follow refreshes the snapshot whenever the state changes, and after a pause
// where a model could not be loaded.
func (s *Server) Follow(ctx context.Context) error {
	const retry = 2 * time.Second
	for {
		next := s.changed() // before reading, so that no change is missed
		if err := s.Refresh(ctx); err != nil {
			return err
		}
		var again <-chan time.Time
		if s.behind.Load() > 0 {
			again = time.After(retry)
		}
		select {
		case <-next:
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// Refresh builds the next snapshot from the state. An environment whose model
// cannot be loaded keeps what it serves.
func (s *Server) Refresh(ctx context.Context) error {
	all, err := state.Environments(ctx, s.db, "")
	if err != nil {
		return fmt.Errorf("reading the environments: %w", err)
	}
	old := s.current.Load()
	if old == nil {
		old = &Snapshot{}
	}
	next := &Snapshot{environments: map[string]*Environment{}, models: map[string]*Environment{}}
	digests := map[string]bool{}
	loading, behind, changed := false, int64(0), len(all) != len(old.environments)
	for _, folded := range all {
		key := id(folded)
		loading = loading || folded.Rollout != nil && folded.Rollout.State == domain.Loading
		if folded.Serving == nil {
			continue
		}
		was := old.environments[key]
		env := was
		if was == nil || was.stamp != stamp(folded) {
			changed = true
			built, err := s.build(ctx, folded)
			switch {
			case err == nil:
				env = built
			case ctx.Err() != nil:
				return ctx.Err()
			default:
				behind++
				s.logger.Error("a version cannot be served", "namespace", folded.Namespace, "model", folded.Model,
					"environment", folded.Environment, "error", err)
			}
		}
		if env == nil {
			continue
		}
		next.environments[key] = env
		for _, v := range []*Version{env.Champion, env.Candidate} {
			if v != nil {
				digests[v.digest] = true
			}
		}
		name := folded.Namespace + "/" + folded.Model
		if env.last || next.models[name] == nil {
			next.models[name] = env
		}
	}
	s.behind.Store(behind)
	if changed || s.current.Load() == nil {
		s.current.Store(next)
		if !loading { // what a rollout loads now is not in the snapshot yet
			s.cache.Keep(digests)
		}
	}
	return nil
}

// stamp is equal where nothing that matters to serving changed.
func stamp(e state.Environment) string {
	s := fmt.Sprintf("%d|%s|%t", *e.Serving, e.Key, e.Last)
	if r := e.Rollout; r != nil && r.State == domain.Stepping {
		s += fmt.Sprintf("|%s|%d|%d|%d", r.ID, r.Version, r.Step, r.Weight)
	}
	return s
}

func (s *Server) build(ctx context.Context, e state.Environment) (*Environment, error) {
	env := &Environment{Namespace: e.Namespace, Model: e.Model, Environment: e.Environment, last: e.Last, stamp: stamp(e)}
	var err error
	if env.Champion, err = s.version(ctx, e, *e.Serving); err != nil {
		return nil, err
	}
	if r := e.Rollout; r != nil && r.State == domain.Stepping {
		if env.Candidate, err = s.version(ctx, e, r.Version); err != nil {
			return nil, err
		}
		env.Weight, env.Rollout, env.Step, env.seed = r.Weight, r.ID, r.Step, domain.Seed(r.ID)
		if env.joint, err = planOf(env.Champion, env.Candidate); err != nil {
			return nil, err
		}
	}
	env.Key = keyOf(env.Champion.Fields, e.Key)
	return env, nil
}

// keyOf is the request field that identifies a row: the dataset's key where the
// request has it, else a field named id.
func keyOf(fields []events.TypedField, datasetKey string) string {
	for _, name := range []string{datasetKey, "id"} {
		for _, f := range fields {
			if f.Name == name {
				return name
			}
		}
	}
	return ""
}

func (s *Server) version(ctx context.Context, e state.Environment, number int64) (*Version, error) {
	a, err := state.Approved(ctx, s.db, e.Namespace, e.Model, e.Environment, number)
	if err != nil {
		return nil, fmt.Errorf("version %d: %w", number, err)
	}
	v := &Version{Number: number, Columns: a.Columns, Uses: a.Uses, Fields: a.RequestFields, Prediction: a.Prediction, digest: a.Artifact.Digest}
	if len(v.Prediction) == 0 {
		return nil, errors.New("the version names no prediction")
	}
	if v.model, err = s.cache.Load(ctx, v.digest, v.Columns); err != nil {
		return nil, fmt.Errorf("version %d: %w", number, err)
	}
	for _, c := range v.Columns {
		v.names = append(v.names, featureOf(c).Name())
	}
	v.plan, err = planOf(v)
	return v, err
}

package online

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/state"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Slack is how much longer than its window a row is kept, so that an instant
// somewhat in the past can still be asked for.
const Slack = 24 * time.Hour

// Migrations are the tables that are not folded: how far pushed rows were read.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Errors that the HTTP routes tell apart.
var (
	ErrNotReady = errors.New("the online store is still being filled")
	ErrTooOld   = errors.New("as_of is before what the online store keeps")
)

type viewID struct {
	namespace, view string
	version         int64
}

type loadedID struct {
	viewID
	commit string
}

// Options are what a store works with.
type Options struct {
	Pool    *pgxpool.Pool
	Changed func() <-chan struct{} // what it returns is closed at the state's next change
	Objects *objects.Store
	Kafka   *kafka.Client
	Engine  *duckdb.Engine
	Clock   clock.Clock
	Idle    time.Duration // after which a SQL session that nobody uses is closed
	Logger  *slog.Logger
}

// Store is the online store.
type Store struct {
	pool     *pgxpool.Pool
	changed  func() <-chan struct{}
	objects  *objects.Store
	kafka    *kafka.Client
	clock    clock.Clock
	logger   *slog.Logger
	onDemand *compute.OnDemand
	pushes   *pushes

	catalog atomic.Pointer[Catalog]
	filled  chan struct{} // closed once what was there at the start is loaded
	once    sync.Once

	mu    sync.RWMutex
	views map[viewID]*viewRows

	// Of the following loop only: which file was entered, which views lack what
	// was pushed before they were declared.
	loaded   map[loadedID]string
	unfilled []viewID
}

// New returns an empty store. Run Follow and Consume to fill it.
func New(o Options) *Store {
	s := &Store{
		pool: o.Pool, changed: o.Changed, objects: o.Objects, kafka: o.Kafka, clock: o.Clock, logger: o.Logger, onDemand: compute.NewOnDemand(o.Engine, o.Idle),
		filled: make(chan struct{}), views: map[viewID]*viewRows{}, loaded: map[loadedID]string{},
	}
	s.pushes = newPushes(s, o.Engine, o.Idle)
	s.catalog.Store(&Catalog{})
	return s
}

// Close gives the sessions back.
func (s *Store) Close() error { return errors.Join(s.onDemand.Close(), s.pushes.close()) }

// Catalog is what is declared now.
func (s *Store) Catalog() *Catalog { return s.catalog.Load() }

// Behind counts the changes of the fold that the store has not followed yet.
func (s *Store) Behind(ctx context.Context) (int64, error) {
	n, err := state.Revision(ctx, s.pool)
	if err != nil {
		return 0, err
	}
	return max(0, n-s.catalog.Load().revision), nil
}

// Follow keeps the store in step with the fold until the context ends.
func (s *Store) Follow(ctx context.Context) error {
	for {
		wake := s.changed()
		if err := s.follow(ctx); err != nil {
			return err
		}
		s.once.Do(func() { close(s.filled) })
		select {
		case <-wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Store) follow(ctx context.Context) error {
	revision, err := state.Revision(ctx, s.pool)
	if err != nil {
		return err
	}
	before := s.catalog.Load()
	if revision == before.revision && before.spaces != nil {
		return nil
	}
	next, err := loadCatalog(ctx, s.pool, revision, before, s.logger)
	if err != nil {
		return err
	}
	added, oldest := s.adopt(next)
	s.unfilled = append(s.unfilled, added...)
	if err := s.load(ctx, next, oldest); err != nil {
		return err
	}
	s.pushes.mu.Lock() // what is pushed now comes before or after, not in between
	defer s.pushes.mu.Unlock()
	for _, id := range s.unfilled {
		if err := s.pushes.fill(ctx, next, id); err != nil {
			return err
		}
	}
	s.unfilled = nil
	s.catalog.Store(next)
	return nil
}

// adopt makes a place for every windowed view. It returns the new ones, and how
// far back any of them reaches.
func (s *Store) adopt(c *Catalog) (added []viewID, oldest time.Time) {
	now := s.clock.Now()
	oldest = now
	s.mu.Lock()
	defer s.mu.Unlock()
	for ns, sp := range c.spaces {
		for name, versions := range sp.views {
			for _, v := range versions {
				if v.Plan == nil {
					continue
				}
				horizon := now.Add(-v.Retention() - Slack)
				if horizon.Before(oldest) {
					oldest = horizon
				}
				id := viewID{ns, name, v.Version}
				if s.views[id] == nil {
					s.views[id] = newViewRows(v)
					added = append(added, id)
				}
				s.views[id].prune(horizon.UnixMicro())
			}
		}
	}
	return added, oldest
}

func (s *Store) viewRows(id viewID) *viewRows {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.views[id]
}

// load enters materialised rows that are not there yet.
func (s *Store) load(ctx context.Context, c *Catalog, oldest time.Time) error {
	all, err := state.Materialised(ctx, s.pool, oldest)
	if err != nil {
		return err
	}
	for _, m := range all {
		id := viewID{m.Namespace, m.View, m.Version}
		key := loadedID{id, m.Commit}
		rows := s.viewRows(id)
		if rows == nil || s.loaded[key] == m.File || m.Through == nil || m.Through.UnixMicro() <= rows.horizonNow() {
			continue
		}
		path, err := s.objects.File(ctx, m.File)
		if err != nil {
			return fmt.Errorf("rows of view %s, commit %s: %w", m.View, m.Commit, err)
		}
		t, err := parquet.Read(path)
		if err != nil {
			return fmt.Errorf("rows of view %s, commit %s: %w", m.View, m.Commit, err)
		}
		if err := rows.add(t, m.Number+1); err != nil {
			return err
		}
		s.loaded[key] = m.File
	}
	return nil
}

func (w *viewRows) horizonNow() int64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.horizon
}

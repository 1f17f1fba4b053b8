package audit

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/audit/internal/log/copier"
	"github.com/freshet-io/freshet/services/audit/internal/log/leaderlock"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/proof/evidence"
	"github.com/freshet-io/freshet/services/audit/internal/proof/merkle"
	"github.com/freshet-io/freshet/services/audit/internal/state"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// topicTimeout bounds the look at the archive's topic at the start.
const topicTimeout = 5 * time.Second

// checkTopic refuses a topic that cannot hold the log. One that cannot be asked now
// is asked again before anything is copied.
func checkTopic(client *kafka.Client, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), topicTimeout)
	defer cancel()
	err := copier.Check(ctx, client)
	if errors.Is(err, copier.ErrTopic) {
		return err
	}
	if err != nil {
		logger.Warn("the archive's topic could not be checked; it will be before anything is copied", "error", err)
	}
	return nil
}

func newLeaderLock(pool *pgxpool.Pool) *leaderlock.Lock { return leaderlock.New(pool, "audit/archive") }

func newArchive(client *kafka.Client) *archive.Reader { return archive.New(client) }

func newTree(paths service.Paths) (*transparency.Tree, error) {
	return transparency.OpenTree(filepath.Join(paths.DataDir, "merkle.hashes"))
}

func closeTree(t *transparency.Tree) error { return t.Close() }

func newKey(cfg Config, paths service.Paths) (transparency.Key, error) {
	path := cfg.Key
	if path == "" {
		path = filepath.Join(paths.DataDir, "signing.key")
	}
	return transparency.LoadKey(path, cfg.Origin)
}

func newMerkle(cfg Config, a *archive.Reader, tree *transparency.Tree, key transparency.Key, c clock.Clock, logger *slog.Logger,
	copies *copier.Copier, log *eventlog.Log, lock *leaderlock.Lock, metrics prometheus.Registerer) (*merkle.Log, error) {
	m := merkle.New(merkle.Options{
		Archive: a, Tree: tree, Key: key, Clock: c, Logger: logger,
		Events: int64(cfg.CheckpointEvents), Every: cfg.CheckpointEvery, Sign: lock.Held, Archived: copies.Archived, Grown: copies.Grown,
		Newest: func(ctx context.Context) (events.CheckpointSigned, error) {
			return state.NewestCheckpoint(ctx, log.State())
		},
		Record: func(ctx context.Context, c events.CheckpointSigned) error {
			draft, err := events.NewCheckpointSigned(logNamespace, "log", c)
			if err != nil {
				return err
			}
			_, err = log.Record(ctx, eventlog.Fact{Event: draft, Key: []string{"checkpoint", strconv.FormatInt(c.Size, 10), c.Root, c.Key}})
			return err
		},
	})
	return m, m.Measure(metrics)
}

func evidenceRoutes(mux *web.Mux, log *eventlog.Log, raw *logread.Reader, m *merkle.Log) {
	evidence.New(log.State(), raw, m).Register(mux)
}

func merkleLoop(m *merkle.Log) service.Loop {
	return service.Loop{Name: "merkle", Run: m.Run, Behind: m.Behind}
}

// The archive is audit's work, so it is not ready while it cannot be read or written.
func archiveCheck(c *copier.Copier) service.Check {
	return service.Check{Name: "archive", Find: c.Failing}
}

func merkleCheck(m *merkle.Log) service.Check {
	return service.Check{Name: "merkle", Find: m.Failing}
}

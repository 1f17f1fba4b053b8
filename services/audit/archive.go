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
	"github.com/freshet-io/freshet/services/audit/internal/log/copier"
	"github.com/freshet-io/freshet/services/audit/internal/log/guardian"
	"github.com/freshet-io/freshet/services/audit/internal/log/leaderlock"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/proof/merkle"
	"github.com/freshet-io/freshet/services/audit/internal/state"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
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

// archiver copies the log while it is attested, from its next epoch when there is one,
// and in one process at a time: two would store everything twice.
type archiver struct {
	copier *copier.Copier
	lock   *leaderlock.Lock
	log    *eventlog.Log
}

func newArchiver(c *copier.Copier, lock *leaderlock.Lock, log *eventlog.Log) *archiver {
	return &archiver{copier: c, lock: lock, log: log}
}

func (a *archiver) Run(ctx context.Context) error { return a.lock.Run(ctx, a.whileAttested) }

func (a *archiver) whileAttested(ctx context.Context) error {
	return a.log.RunWhileAttested(ctx, a.copier.Run)
}

// archiveOf reads the archive; nil where the log is not archived.
func archiveOf(cfg Config, client *kafka.Client) *archive.Reader {
	if !cfg.Archive {
		return nil
	}
	return archive.New(client)
}

func newReader(cfg Config, nc *nats.Conn, client *kafka.Client, log *eventlog.Log) (*logread.Reader, error) {
	return logread.New(nc, log.Stream, archiveOf(cfg, client))
}

func guardianSettings(cfg Config, client *kafka.Client) guardian.Settings {
	return guardian.Settings{Archive: archiveOf(cfg, client), Wait: cfg.AttestWait,
		Trim: guardian.Trimming{KeepEvents: uint64(cfg.KeepEvents), KeepFor: cfg.KeepFor, LogBytes: uint64(cfg.LogBytes)}} //nolint:gosec // not negative
}

func newTree(paths service.Paths) (*transparency.Tree, error) {
	return transparency.OpenTree(filepath.Join(paths.DataDir, "merkle.hashes"))
}

func newKey(cfg Config, paths service.Paths) (transparency.Key, error) {
	path := cfg.Key
	if path == "" {
		path = filepath.Join(paths.DataDir, "signing.key")
	}
	return transparency.LoadKey(path, cfg.Origin)
}

func newCopier(raw *logread.Reader, client *kafka.Client, log *eventlog.Log, tree *transparency.Tree, logger *slog.Logger,
	metrics prometheus.Registerer) (*copier.Copier, error) {
	c := copier.New(raw, client, logger, uint64(tree.Size()), facts{log, raw}.gap)
	if err := c.Measure(metrics); err != nil {
		return nil, err
	}
	return c, nil
}

func newMerkle(cfg Config, a *archive.Reader, tree *transparency.Tree, key transparency.Key, c clock.Clock, logger *slog.Logger,
	copies *copier.Copier, log *eventlog.Log, raw *logread.Reader, lock *leaderlock.Lock, metrics prometheus.Registerer) (*merkle.Log, error) {
	f := facts{log, raw}
	m := merkle.New(merkle.Options{
		Archive: a, Tree: tree, Key: key, Clock: c, Logger: logger,
		Events: int64(cfg.CheckpointEvents), Every: cfg.CheckpointEvery, Sign: lock.Held, Archived: copies.Archived, Advanced: copies.Advanced,
		Newest: f.newestCheckpoint, Record: f.checkpoint,
	})
	if err := m.Measure(metrics); err != nil {
		return nil, err
	}
	return m, nil
}

// logNamespace is where audit records what concerns the whole log.
const logNamespace = "default"

// facts records what audit finds out about the log.
type facts struct {
	log *eventlog.Log
	raw *logread.Reader
}

func (f facts) gap(ctx context.Context, g copier.Gap) error {
	draft, err := events.NewGapFound(logNamespace, "log", events.GapFound{Sequence: int64(g.Sequence), Expected: g.Expected, Found: g.Found})
	if err != nil {
		return err
	}
	_, err = f.log.Record(ctx, eventlog.Fact{Event: draft, Key: []string{"gap", f.raw.Stream(), strconv.FormatUint(g.Sequence, 10), g.Expected, g.Found}})
	return err
}

func (f facts) checkpoint(ctx context.Context, c events.CheckpointSigned) error {
	draft, err := events.NewCheckpointSigned(logNamespace, "log", c)
	if err != nil {
		return err
	}
	_, err = f.log.Record(ctx, eventlog.Fact{Event: draft, Key: []string{"checkpoint", strconv.FormatInt(c.Size, 10), c.Root, c.Key}})
	return err
}

func (f facts) newestCheckpoint(ctx context.Context) (events.CheckpointSigned, error) {
	return state.NewestCheckpoint(ctx, f.log.State())
}

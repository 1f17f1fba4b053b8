package audit

import (
	"context"
	"log/slog"
	"strconv"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/audit/internal/edge"
	"github.com/freshet-io/freshet/services/audit/internal/log/copier"
	"github.com/freshet-io/freshet/services/audit/internal/log/guardian"
	"github.com/freshet-io/freshet/services/audit/internal/log/leaderlock"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/past/lineage"
	"github.com/freshet-io/freshet/services/audit/internal/state"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its routes, and the copy to Kafka.
func Module(cfg Config) fx.Option {
	options := []fx.Option{fx.Supply(cfg), fx.Provide(newFold, newReader), guardian.Module(guardianOptions), fx.Invoke(routes)}
	if cfg.Archive {
		options = append(options, fx.Invoke(checkTopic), fx.Provide(
			newLeaderLock, newCopier, newArchive, newKey, newMerkle,
			fx.Annotate(newTree, fx.OnStop(closeTree)),
		), service.Loops(archiveLoop, merkleLoop), service.Checks(archiveCheck, merkleCheck), fx.Invoke(evidenceRoutes))
	}
	return fx.Module("audit", options...)
}

func newFold() *eventlog.Fold {
	fold := eventlog.NewFold("audit", state.FoldVersion, state.Tables)
	state.Register(fold)
	return fold
}

// archiveOf reads the archive, where the log is archived.
func archiveOf(cfg Config, client *kafka.Client) *archive.Reader {
	if !cfg.Archive {
		return nil
	}
	return archive.New(client)
}

func guardianOptions(cfg Config, client *kafka.Client) guardian.Settings {
	return guardian.Settings{Archive: archiveOf(cfg, client), Wait: cfg.AttestWait,
		Trim: guardian.Trimming{KeepEvents: uint64(cfg.KeepEvents), KeepFor: cfg.KeepFor, LogBytes: uint64(cfg.LogBytes)}} //nolint:gosec // not negative
}

func newReader(cfg Config, nc *nats.Conn, client *kafka.Client, log *eventlog.Log) (*logread.Reader, error) {
	return logread.New(nc, log.Stream, archiveOf(cfg, client))
}

func routes(mux *web.Mux, log *eventlog.Log, raw *logread.Reader, store *objects.Store, c clock.Clock, cfg Config) {
	explainer := lineage.New(log.State(), raw, events.Codec{}, store)
	edge.New(log, raw, explainer, c, cfg.ListLimit).Register(mux)
}

// logNamespace is where audit records what concerns the whole log.
const logNamespace = "default"

func newCopier(raw *logread.Reader, client *kafka.Client, log *eventlog.Log, tree *transparency.Tree, logger *slog.Logger, metrics prometheus.Registerer) (*copier.Copier, error) {
	c := copier.New(raw, client, logger, uint64(tree.Size()), func(ctx context.Context, g copier.Gap) error {
		draft, err := events.NewGapFound(logNamespace, "log", events.GapFound{Sequence: int64(g.Sequence), Expected: g.Expected, Found: g.Found})
		if err != nil {
			return err
		}
		_, err = log.Record(ctx, eventlog.Fact{Event: draft, Key: []string{"gap", raw.Stream(), strconv.FormatUint(g.Sequence, 10), g.Expected, g.Found}})
		return err
	})
	return c, c.Measure(metrics)
}

// archiveLoop copies the log while it is attested, from its next epoch when there is one,
// and in one process at a time: two would store everything twice.
func archiveLoop(c *copier.Copier, lock *leaderlock.Lock, log *eventlog.Log) service.Loop {
	return service.Loop{Name: "archive", Behind: c.Behind, Run: func(ctx context.Context) error {
		return lock.Run(ctx, func(ctx context.Context) error { return log.While(ctx, c.Run) })
	}}
}

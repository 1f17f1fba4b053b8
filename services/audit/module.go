package audit

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/audit/internal/edge"
	"github.com/freshet-io/freshet/services/audit/internal/log/copier"
	"github.com/freshet-io/freshet/services/audit/internal/log/guardian"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/past/lineage"
	"github.com/freshet-io/freshet/services/audit/internal/proof/evidence"
	"github.com/freshet-io/freshet/services/audit/internal/proof/merkle"
	"go.uber.org/fx"
)

// Module is the whole service: its fold, its routes, the log's guardian, and the copy to
// Kafka where there is one.
func Module(cfg Config) fx.Option {
	return fx.Module("audit",
		fx.Supply(cfg),
		fx.Provide(Fold, newReader),
		guardian.Module(guardianSettings),
		archiving(cfg),
		fx.Invoke(routes),
	)
}

func archiving(cfg Config) fx.Option {
	if !cfg.Archive {
		return fx.Options()
	}
	return fx.Options(
		fx.Provide(newLeaderLock, newArchiver, archiveOf, fx.Annotate(newTree, fx.OnStop((*transparency.Tree).Close)), newKey, newCopier, newMerkle),
		service.Loops(archiveLoop, merkleLoop),
		service.Checks(archiveCheck, merkleCheck),
		fx.Invoke(checkTopic, evidenceRoutes),
	)
}

func archiveLoop(a *archiver) service.Loop {
	return service.Loop{Name: "archive", Run: a.Run, Behind: a.copier.Behind}
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

func routes(mux *web.Mux, log *eventlog.Log, cfg Config, raw *logread.Reader, store *objects.Store, c clock.Clock) {
	explainer := lineage.New(log.State(), raw, events.Codec{}, store)
	edge.New(log, raw, explainer, c, cfg.ListLimit).Register(mux)
}

func evidenceRoutes(mux *web.Mux, log *eventlog.Log, raw *logread.Reader, m *merkle.Log) {
	evidence.New(log.State(), raw, m).Register(mux)
}

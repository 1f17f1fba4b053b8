package service

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/dig"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
)

// parts are what a module contributes.
type parts struct {
	fx.In

	Fold       *eventlog.Fold
	Handlers   []eventlog.Handler `group:"effects"`
	Migrations []fs.FS            `group:"migrations"`
}

// work is what runs once the module is built.
type work struct {
	fx.In

	Log    *eventlog.Log
	Loops  []Loop  `group:"loops"`
	Checks []Check `group:"checks"`
}

// build makes the module's graph: its data tables are migrated and its log is
// opened before anything that needs them is constructed.
func (s *Service) build(ctx context.Context) error {
	s.app = fx.New(
		fx.WithLogger(func() fxevent.Logger {
			l := &fxevent.SlogLogger{Logger: s.logger}
			l.UseLogLevel(slog.LevelDebug)
			l.UseErrorLevel(slog.LevelDebug) // errors are returned; whoever started it tells them once
			return l
		}),
		fx.Supply(s.pool, s.nats, s.kafka, s.objects, s.logger, s.mux, s.o.Paths, s.o.URLs),
		fx.Provide(
			func() clock.Clock { return s.o.Clock },
			func() prometheus.Registerer { return s.labeled },
			func(p parts) (*eventlog.Log, error) { return s.open(ctx, p) },
		),
		s.o.Module,
		fx.Invoke(func(w work) {
			s.log, s.loops, s.checks = w.Log, w.Loops, w.Checks
		}),
	)
	if err := s.app.Err(); err != nil {
		// Its cause, without the chain of constructors that led to it.
		return fmt.Errorf("building the module: %w", dig.RootCause(err))
	}
	// Groups come in random order; lists that people read do not.
	slices.SortFunc(s.loops, func(a, b Loop) int { return strings.Compare(a.Name, b.Name) })
	s.registerParked()
	s.registerReplay()
	s.registerTrials()
	if err := s.app.Start(ctx); err != nil {
		return fmt.Errorf("starting the module: %w", err)
	}
	return nil
}

func (s *Service) open(ctx context.Context, p parts) (*eventlog.Log, error) {
	if p.Fold.Service != s.o.Name {
		return nil, fmt.Errorf("the module's fold is %s's", p.Fold.Service)
	}
	if err := migrate(ctx, s.o, p.Migrations); err != nil {
		return nil, err
	}
	slices.SortFunc(p.Handlers, func(a, b eventlog.Handler) int { return strings.Compare(a.Kind, b.Kind) })
	return eventlog.Open(ctx, eventlog.Options{
		Fold: p.Fold, IsDecision: s.o.Language.IsDecision, Codec: s.o.Language.Codec,
		Pool: s.pool, NATS: s.nats, Attested: s.o.Attested, Archive: archive.New(s.kafka), Clock: s.o.Clock,
		Handlers: p.Handlers, Logger: s.o.Logger, Metrics: s.metrics, // it labels both itself
	})
}

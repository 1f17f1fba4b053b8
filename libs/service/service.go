package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/fx"
)

// Options of a service.
type Options struct {
	Name     string
	Language Events
	Module   fx.Option

	Postgres string   // connection string
	NATS     string   // URL with the service's own user
	Token    string   // lets in who has it; everybody may do everything where there is none
	Attested bool     // audit attests the log before it is continued; see eventlog.Options
	Kafka    []string // bootstrap addresses
	Objects  string   // directory or bucket URL

	Paths  Paths
	URLs   URLs
	Clock  clock.Clock
	Logger *slog.Logger
}

// Service is one service in this process.
type Service struct {
	o       Options
	logger  *slog.Logger
	mux     *web.Mux
	metrics *prometheus.Registry
	labeled prometheus.Registerer

	pool    *pgxpool.Pool
	nats    *nats.Conn
	kafka   *kafka.Client
	objects *objects.Store
	app     *fx.App
	log     *eventlog.Log

	loops  []Loop
	checks []Check

	stopLog   context.CancelFunc
	logEnded  chan struct{}
	stopLoops context.CancelFunc
	running   sync.WaitGroup
	failed    chan error
	ready     atomic.Bool
	health    health
	trials    trials
}

// budgets of the stages of stopping, in their order.
const (
	budgetLoops   = 10 * time.Second
	budgetLog     = 10 * time.Second
	budgetModule  = 5 * time.Second
	budgetClients = 3 * time.Second
)

// New prepares a service. Nothing happens before Start.
func New(o Options) *Service {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	metrics := prometheus.NewRegistry()
	labeled := prometheus.WrapRegistererWith(prometheus.Labels{"service": o.Name}, metrics)
	logger := o.Logger.With("service", o.Name)
	return &Service{
		o: o, logger: logger, metrics: metrics, labeled: labeled,
		mux:    web.NewMux(o.gate(), logger, labeled),
		failed: make(chan error, 1),
	}
}

// gate is what lets requests in.
func (o Options) gate() web.Gate {
	if o.Token == "" {
		return web.Open{}
	}
	return web.Token(o.Token)
}

// Name is the service's.
func (s *Service) Name() string { return s.o.Name }

// Mux holds the service's own routes; complete after Start.
func (s *Service) Mux() *web.Mux { return s.mux }

// Metrics are the service's, labelled with its name.
func (s *Service) Metrics() *prometheus.Registry { return s.metrics }

// Log is the service's log, after Start.
func (s *Service) Log() *eventlog.Log { return s.log }

// Pool is the service's connections to PostgreSQL, after Start.
func (s *Service) Pool() *pgxpool.Pool { return s.pool }

// Objects is the service's object store, after Start.
func (s *Service) Objects() *objects.Store { return s.objects }

// Kafka is the service's Kafka client, after Start.
func (s *Service) Kafka() *kafka.Client { return s.kafka }

// Failed yields the error that ended the service's processing, if one does.
func (s *Service) Failed() <-chan error { return s.failed }

// Start connects the service, builds its module, lets it catch up with the log
// and starts its loops. When it fails, Stop releases what was started.
func (s *Service) Start(ctx context.Context) error {
	if err := s.health.measure(s.labeled); err != nil {
		return fmt.Errorf("%s: %w", s.o.Name, err)
	}
	if err := s.connect(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.o.Name, err)
	}
	if err := s.build(ctx); err != nil {
		return fmt.Errorf("%s: %w", s.o.Name, err)
	}
	logCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stopLog, s.logEnded = cancel, make(chan struct{})
	go func() {
		defer close(s.logEnded)
		if err := s.log.Run(logCtx); logCtx.Err() == nil {
			s.fail(fmt.Errorf("%s: processing of the log ended: %w", s.o.Name, err))
		}
	}()
	live, err := s.live(ctx, renewTimeout)
	if err != nil {
		return fmt.Errorf("%s: %w", s.o.Name, err)
	}
	loopCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stopLoops = cancel
	loops := func() {
		for _, l := range s.loops {
			s.running.Go(func() { s.supervise(loopCtx, l) })
		}
	}
	if live {
		loops()
	} else {
		s.running.Go(func() {
			if live, _ := s.live(loopCtx, math.MaxInt64); live {
				loops()
			}
		})
	}
	s.running.Go(func() { s.health.watch(loopCtx, s) })
	s.ready.Store(true)
	return nil
}

// renewTimeout is how long a start waits for the rebuild of a fold whose version
// changed. After that the service answers reads from the old tables while the rebuild continues.
const renewTimeout = 2 * time.Second

// live waits until the log was read to its end once. It returns false where that
// waits for a rebuild that takes longer than it may.
func (s *Service) live(ctx context.Context, timeout time.Duration) (bool, error) {
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		st := s.log.Status(ctx)
		renewing := s.log.Renewing() != nil
		if st.Err == nil && st.Position >= st.End && !renewing {
			return true, nil
		}
		if renewing && time.Since(began) > timeout {
			return false, nil
		}
		if errors.Is(st.Err, eventlog.ErrAlarm) {
			return false, st.Err
		}
		select {
		case <-ctx.Done():
			return false, errors.Join(fmt.Errorf("catching up with the log, at %d of %d: %w", st.Position, st.End, ctx.Err()), st.Err)
		case err := <-s.failed:
			s.failed <- err
			return false, err
		case <-tick.C:
		}
	}
}

func (s *Service) fail(err error) {
	s.logger.Error("the service failed", "error", err)
	select {
	case s.failed <- err:
	default:
	}
}

// supervise runs a loop until the context ends.
func (s *Service) supervise(ctx context.Context, l Loop) {
	const first, last, stable = 50 * time.Millisecond, 10 * time.Second, time.Minute
	pause := first
	for {
		began := time.Now()
		err := recovered(ctx, l)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > stable {
			pause = first
		}
		s.logger.Error("a loop ended and is restarted", "loop", l.Name, "error", err, "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, last)
	}
}

// recovered runs a loop and returns a panic as its error.
func recovered(ctx context.Context, l Loop) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.Run(ctx)
}

// Stop ends the service in order: loops, log, module, connections. Each stage has
// its budget; one that exceeds it is left behind and named in the error.
func (s *Service) Stop(ctx context.Context) error {
	s.ready.Store(false)
	var errs []error
	stage := func(name string, budget time.Duration, end func(context.Context) error) {
		ctx, cancel := context.WithTimeout(ctx, budget)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- end(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				errs = append(errs, fmt.Errorf("stopping %s's %s: %w", s.o.Name, name, err))
			}
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("stopping %s's %s: not done after %s", s.o.Name, name, budget))
		}
	}
	if s.stopLoops != nil {
		s.stopLoops()
		stage("loops", budgetLoops, func(context.Context) error { s.running.Wait(); return nil })
	}
	stage("trials", budgetLog, s.closeTrials)
	if s.stopLog != nil {
		s.stopLog()
		stage("log", budgetLog, func(context.Context) error { <-s.logEnded; return nil })
	}
	if s.app != nil {
		stage("module", budgetModule, s.app.Stop)
	}
	stage("connections", budgetClients, func(context.Context) error {
		if s.kafka != nil {
			s.kafka.Close()
		}
		if s.nats != nil {
			s.nats.Close()
		}
		if s.pool != nil {
			s.pool.Close()
		}
		if s.objects != nil {
			return s.objects.Close()
		}
		return nil
	})
	return errors.Join(errs...)
}

// prepare makes the service's directories.
func (p Paths) prepare() error {
	if err := os.MkdirAll(p.DataDir, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(p.TempDir); err != nil {
		return err
	}
	return os.MkdirAll(p.TempDir, 0o755)
}

package suite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/telemetry"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/prometheus/client_golang/prometheus"
)

// drain is how long requests may take to end when the suite stops.
const drain = 5 * time.Second

// Options of a suite.
type Options struct {
	DataDir  string
	Listen   string   // a loopback address; port 0 for any free one
	Services []string // all of them if empty
	Auth     string   // service.AuthToken if empty, or service.AuthNone
	Clock    clock.Clock
	Logger   *slog.Logger
}

// Suite is a running suite.
type Suite struct {
	infra    *Infrastructure
	services []*service.Service
	listener net.Listener
	token    string
	login    *web.Login // nil where everybody is let in
	server   *web.Server
	front    *front
	logger   *slog.Logger
	started  atomic.Bool
	failed   chan error
	stopping chan struct{} // closed by Stop
	stopped  sync.Once
}

// Start starts a suite and returns when everything is ready.
func Start(ctx context.Context, o Options) (*Suite, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	chosen, err := choose(o.Services)
	if err != nil {
		return nil, err
	}
	s := &Suite{logger: o.Logger, failed: make(chan error, 1), stopping: make(chan struct{})}
	if s.token, err = tokenFor(cmp.Or(o.Auth, service.AuthToken), o.DataDir); err != nil {
		return nil, err
	}
	if s.listener, err = web.Listen(o.Listen, gate(s.token)); err != nil {
		return nil, err
	}
	if s.token != "" {
		s.login = web.NewLogin(web.Token(s.token), s.URL())
	}
	s.front = newFront(s)
	if s.infra, err = StartInfrastructure(ctx, o.DataDir, o.Logger); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	if err := s.infra.publish(s.listener, s.token, nil); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	attested := slices.ContainsFunc(chosen, func(d definition) bool { return d.name == guardian })
	for _, d := range chosen {
		module, err := d.module(s.infra.lookup)
		if err != nil {
			return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
		s.services = append(s.services, service.New(service.Options{
			Name: d.name, Module: module, Token: s.token,
			Language: service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision},
			Postgres: s.infra.postgres.URL(), NATS: s.infra.nats.URL(d.name), Attested: attested,
			Kafka: []string{s.infra.kafka.Addr()}, Objects: s.infra.objects(),
			Paths: service.Paths{
				DataDir: filepath.Join(s.infra.dir, "services", d.name),
				TempDir: filepath.Join(s.infra.dir, "tmp", d.name),
			},
			URLs:  service.URLs{Suite: s.URL(), Token: s.token},
			Clock: o.Clock, Logger: o.Logger,
		}))
	}
	s.server = web.Serve(s.listener, web.Guard(s.listener.Addr(), s.front))
	if err := s.startServices(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Suite) startServices(ctx context.Context) error {
	errs := make([]error, len(s.services))
	var all sync.WaitGroup
	for i, one := range s.services {
		all.Go(func() { errs[i] = one.Start(ctx) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	process := prometheus.NewRegistry()
	if err := errors.Join(telemetry.Process(process), s.infra.measure(process)); err != nil {
		return err
	}
	if err := s.front.mount(s.services, process); err != nil {
		return err
	}
	for _, one := range s.services {
		go func() {
			select {
			case err := <-one.Failed():
				select {
				case s.failed <- err:
				default:
				}
			case <-s.stopping:
			}
		}()
	}
	s.started.Store(true)
	return nil
}

// Runs tells whether a service is one of the suite's.
func (s *Suite) Runs(name string) bool {
	return slices.ContainsFunc(s.services, func(one *service.Service) bool { return one.Name() == name })
}

// URL is where the suite answers.
func (s *Suite) URL() string { return "http://" + s.listener.Addr().String() }

// KafkaAddr is where outside producers and readers find Kafka.
func (s *Suite) KafkaAddr() string { return s.infra.KafkaAddr() }

// NATSAddr is where outside producers publish to freshet-in.<namespace>.….
func (s *Suite) NATSAddr() string { return s.infra.nats.Addr() }

// ProducerURL is where outside producers connect to NATS, with their password.
func (s *Suite) ProducerURL() string { return s.infra.nats.URL(producerUser) }

// Token lets in who has it; it is empty where everybody is let in.
func (s *Suite) Token() string { return s.token }

// ConsoleLink is a link that lets one browser into the console.
func (s *Suite) ConsoleLink() string {
	if s.login == nil {
		return s.URL()
	}
	return s.login.Link()
}

// Failed yields the error of a service whose processing of the log has ended.
func (s *Suite) Failed() <-chan error { return s.failed }

// Stop stops everything in reverse order: the listener, the services, the servers.
func (s *Suite) Stop(ctx context.Context) error {
	s.started.Store(false)
	s.stopped.Do(func() { close(s.stopping) })
	var errs []error
	if s.server != nil {
		ctx, cancel := context.WithTimeout(ctx, drain)
		if err := s.server.Stop(ctx); err != nil {
			s.logger.Warn("requests were cut", "error", err)
		}
		cancel()
	} else {
		errs = append(errs, s.listener.Close())
	}
	// The log guardian records where the others stop, and stops last.
	errs = append(errs, s.stopServices(ctx, func(name string) bool { return name != guardian }))
	errs = append(errs, s.stopServices(ctx, func(name string) bool { return name == guardian }))
	return errors.Join(append(errs, s.infra.Stop(ctx))...)
}

func (s *Suite) stopServices(ctx context.Context, chosen func(name string) bool) error {
	errs := make([]error, len(s.services))
	var all sync.WaitGroup
	for i, one := range s.services {
		if chosen(one.Name()) {
			all.Go(func() { errs[i] = one.Stop(ctx) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// choose returns the services with these names, all of them where none is named.
func choose(names []string) ([]definition, error) {
	if len(names) == 0 {
		return definitions, nil
	}
	var chosen []definition
	for _, name := range names {
		i := slices.IndexFunc(definitions, func(d definition) bool { return d.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no service %q: choose from %s", name, strings.Join(Names(), ", "))
		}
		chosen = append(chosen, definitions[i])
	}
	return chosen, nil
}

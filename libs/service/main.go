package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/telemetry"
	"github.com/freshet-io/freshet/libs/web"
	"go.uber.org/fx"
)

const (
	mainStart  = 2 * time.Minute
	drainHTTP  = 10 * time.Second
	flushTrace = 2 * time.Second
)

// Main is the whole of a service's main function: it reads the configuration from
// the environment and from flags, runs the service until SIGINT or SIGTERM, and
// exits with 0 only after a clean stop.
//
//	func main() {
//		service.Main("registry", registry.DefaultConfig(), registry.Module,
//			service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
//	}
func Main[C any](name string, defaults C, module func(C) fx.Option, language Events) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, name, &defaults, func() fx.Option { return module(defaults) }, language, os.Args[1:])
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, config any, module func() fx.Option, language Events, args []string) error {
	settings := DefaultSettings()
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	if err := errors.Join(Configure(flags, os.LookupEnv, &settings), Configure(flags, os.LookupEnv, config)); err != nil {
		return err
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err := errors.Join(settings.Validate(), validate(config)); err != nil {
		return err
	}
	logger, err := telemetry.Logger(os.Stderr, settings.LogLevel, settings.LogFormat)
	if err != nil {
		return err
	}
	flush, err := telemetry.Trace(ctx, "freshet-"+name)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTrace)
		defer cancel()
		if err := flush(ctx); err != nil {
			logger.Warn("traces were dropped", "error", err)
		}
	}()

	if settings.Auth == AuthNone {
		settings.Token = ""
	}
	o := Options{
		Name: name, Language: language, Module: module(), Token: settings.Token,
		Postgres: settings.Postgres, NATS: settings.NATS, Attested: settings.Attested, Kafka: settings.Kafka, Objects: settings.Objects,
		Paths: Paths{
			DataDir: filepath.Join(settings.DataDir, "services", name),
			TempDir: filepath.Join(settings.DataDir, "tmp", name),
		},
		URLs:  URLs{Suite: strings.TrimSuffix(settings.Suite, "/"), Token: settings.Token},
		Clock: settings.clock(), Logger: logger,
	}
	listener, err := web.Listen(settings.Listen, o.gate())
	if err != nil {
		return err
	}
	s := New(o)
	if err := telemetry.Process(s.Metrics()); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := web.Serve(listener, web.Guard(listener.Addr(), s.Handler()))
	starting, cancel := context.WithTimeout(ctx, mainStart)
	err = s.Start(starting)
	cancel()
	if err == nil {
		logger.Info("ready", "service", name, "url", "http://"+listener.Addr().String())
		select {
		case <-ctx.Done():
		case err = <-s.Failed():
		}
	}
	return errors.Join(err, shut(server, s, logger))
}

func (s Settings) clock() clock.Clock {
	if s.ClockSteps != "" {
		return clock.Stepped(s.ClockSteps)
	}
	return clock.System()
}

func shut(server *web.Server, s *Service, logger *slog.Logger) error {
	drain, cancel := context.WithTimeout(context.Background(), drainHTTP)
	defer cancel()
	if err := server.Stop(drain); err != nil {
		logger.Warn("requests were cut", "error", err)
	}
	return s.Stop(context.Background())
}

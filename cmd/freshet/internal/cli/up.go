package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/running"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/libs/telemetry"
	"github.com/spf13/cobra"
)

// stopWithin is how long stopping in order may take: what is left then is ended in
// a few seconds more, so that all of it takes less than 30. A second signal ends it
// at once.
const stopWithin = 22 * time.Second

func upCommand() *cobra.Command {
	var dir, listen, auth, services, level, format string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the suite on this machine",
		Long: "Run the suite on this machine: PostgreSQL, the log, Kafka and the services, with everything in one directory.\n" +
			"Only who has the token in DIR/token may do anything: the command line finds it by itself, the console takes the link\n" +
			"that is printed, and DIR/clients holds what other clients need. Ctrl-C stops it; the next start continues where it stopped.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			logger, err := telemetry.Logger(os.Stderr, level, format)
			if err != nil {
				return err
			}
			flush, err := telemetry.Trace(cmd.Context(), "freshet")
			if err != nil {
				return err
			}
			var chosen []string
			if services != "" {
				chosen = strings.Split(services, ",")
			}
			s, err := suite.Start(cmd.Context(), suite.Options{
				DataDir: dir, Listen: listen, Services: chosen, Auth: auth, Clock: clock.System(), Logger: logger,
			})
			if err != nil {
				return unlessStopped(cmd.Context(), err)
			}
			forget := note(logger, s.URL(), dir)
			cmd.Printf("ready in %d ms, %s\n", time.Since(began).Milliseconds(), s.URL())
			letIn(cmd, auth, s.ConsoleLink(), s.Runs("console"))
			cmd.Printf("  data in %s, what clients need in %s\n", dir, filepath.Join(dir, "clients"))
			if s.Runs("ingestion") { // it takes what producers send
				cmd.Printf("  producers: HTTP %s/v1/arrivals, Kafka %s (freshet.in), NATS %s (freshet-in.<namespace>.…)\n",
					s.URL(), s.KafkaAddr(), s.NATSAddr())
			}
			select {
			case <-cmd.Context().Done():
			case err = <-s.Failed():
			}
			forget()
			ctx, cancel := stopping(cmd.Context())
			defer cancel()
			err = errors.Join(err, s.Stop(ctx))
			if flushErr := flush(ctx); flushErr != nil {
				logger.Warn("traces were dropped", "error", flushErr)
			}
			return err
		},
	}
	runFlags(cmd, &dir, &listen, &auth, &level, &format)
	cmd.Flags().StringVar(&services, "services", "", "run only these, separated by commas: "+strings.Join(suite.Names(), ", "))
	complete(cmd, "services", fixed(suite.Names()...))
	return cmd
}

func infraCommand() *cobra.Command {
	var dir, listen, auth, level, format string
	cmd := &cobra.Command{
		Use:   "infra",
		Short: "Run PostgreSQL, the log and Kafka only, for services in processes of their own",
		Long: "Run PostgreSQL, the log and Kafka only. It writes DIR/env/<service>.env, to be sourced before a service's own binary\n" +
			"starts, and serves the routes of those services on one listener.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			began := time.Now()
			logger, err := telemetry.Logger(os.Stderr, level, format)
			if err != nil {
				return err
			}
			i, err := suite.StartInfrastructure(cmd.Context(), dir, logger)
			if err != nil {
				return unlessStopped(cmd.Context(), err)
			}
			g, err := suite.StartGateway(i, listen, auth, logger)
			if err != nil {
				ctx, cancel := stopping(cmd.Context())
				defer cancel()
				return errors.Join(err, i.Stop(ctx))
			}
			forget := note(logger, g.URL(), dir)
			cmd.Printf("ready in %d ms, %s\n", time.Since(began).Milliseconds(), g.URL())
			letIn(cmd, auth, g.ConsoleLink(), true)
			cmd.Printf("environments in %s\n", g.Environments())
			<-cmd.Context().Done()
			forget()
			ctx, cancel := stopping(cmd.Context())
			defer cancel()
			return errors.Join(g.Stop(ctx), i.Stop(ctx))
		},
	}
	runFlags(cmd, &dir, &listen, &auth, &level, &format)
	return cmd
}

var logLevels = []string{"debug", "info", "warn", "error"}

func runFlags(cmd *cobra.Command, dir, listen, auth, level, format *string) {
	flags := cmd.Flags()
	flags.StringVar(dir, "data-dir", defaultDataDir(), "directory for all data")
	flags.StringVar(listen, "listen", "127.0.0.1:8080", "address to listen on; with --auth none a loopback address")
	flags.StringVar(auth, "auth", fromEnv("FRESHET_AUTH", service.AuthToken), "token: only who has the token may do anything; none: everybody, on loopback only")
	flags.StringVar(level, "log-level", fromEnv("FRESHET_LOG_LEVEL", "warn"), "debug, info, warn or error")
	flags.StringVar(format, "log-format", fromEnv("FRESHET_LOG_FORMAT", "text"), "text or json")
	complete(cmd, "listen", nothing)
	complete(cmd, "auth", fixed(service.AuthToken, service.AuthNone))
	complete(cmd, "log-level", fixed(logLevels...))
	complete(cmd, "log-format", fixed("text", "json"))
}

// note lets the command line find the suite's token. What cannot be noted is given it by
// FRESHET_DATA_DIR.
func note(logger *slog.Logger, url, dir string) (forget func()) {
	forget, err := running.Note(url, dir)
	if err != nil {
		logger.Warn("the command line will not find the token by itself: set FRESHET_DATA_DIR", "data_dir", dir, "error", err)
		return func() {}
	}
	return forget
}

// letIn says how people get in.
func letIn(cmd *cobra.Command, auth, link string, console bool) {
	switch {
	case auth == service.AuthNone:
		cmd.Println("  everybody on this machine may do everything (--auth none)")
	case console:
		cmd.Printf("  console: %s (opens once; freshet console prints another)\n", link)
	}
}

// unlessStopped is the error of a start, and nothing where somebody stopped it:
// ending is what that was for.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// stopping bounds a stop; another Ctrl-C, a second later or more, ends the process
// at once. Some supervisors send every signal twice, to a process and to its group.
func stopping(ctx context.Context) (context.Context, context.CancelFunc) {
	go func() {
		time.Sleep(time.Second)
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		<-again
		fmt.Fprintln(os.Stderr, "freshet: killed; the next start recovers")
		os.Exit(1)
	}()
	return context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
}

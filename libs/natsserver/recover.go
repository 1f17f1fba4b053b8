package natsserver

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	checkEvery = time.Second
	checkLast  = time.Minute // where starting again does not help
)

// latched returns the reason why the server must be restarted, nil if it need not be.
//
// A stream that could not write a message accepts no other one, even when its disk has
// free space again: publishing to it times out until the server is restarted. Each
// stream latches separately, and only the text of the server's health check shows it. A
// message to a test stream would not: it would be stored.
func latched(s *server.Server) error {
	if !s.Running() {
		return errors.New("the server is not running")
	}
	for _, e := range s.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if e.Type == server.HealthzErrorJetStream || strings.Contains(e.Error, "write error") {
			return errors.New(e.Error)
		}
	}
	return nil
}

// watch restarts the server, in place, when it has latched and its disk has free space.
func (s *Server) watch(ctx context.Context) {
	defer close(s.watched)
	logged := false
	for pause := checkEvery; ; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		wrong := latched(s.running.Load())
		if wrong == nil {
			pause, logged = checkEvery, false
			continue
		}
		if _, err := freeSpace(s.o.DataDir); err != nil {
			if !logged {
				s.o.Logger.Error("the log's store cannot write; the server is restarted when its disk has free space", "reason", wrong, "disk", err)
				logged = true
			}
			continue
		}
		pause = min(2*pause, checkLast)
		s.o.Logger.Warn("the log's store could not write, and its disk has free space: the server is restarted", "reason", wrong)
		if err := s.restart(ctx); err != nil {
			s.o.Logger.Error("the log's server could not be restarted; it is tried again", "error", err)
			continue
		}
		s.o.Logger.Warn("the log's server was restarted; its clients reconnect by themselves")
	}
}

// restart replaces the server with a new one that has the same address, users and
// limits. Its clients see one server process end and another start.
func (s *Server) restart(ctx context.Context) error {
	old := s.running.Load()
	old.Shutdown()
	old.WaitForShutdown()
	next, err := s.launch(ctx)
	if err != nil {
		return err
	}
	s.running.Store(next)
	return nil
}

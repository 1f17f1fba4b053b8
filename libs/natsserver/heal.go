package natsserver

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	lookEvery = time.Second
	lookLast  = time.Minute // where starting again does not help
)

// latched says why the server has to be started again; nil if it need not be.
//
// A stream that could not write a message takes no other one, also when its disk has
// room again: publishing to it times out, until the server is started again. Each
// stream latches by itself, and only the server's health tells, in words. So a
// message to a stream made for that would find out nothing: it would be stored.
func latched(s *server.Server) error {
	if !s.Running() {
		return errors.New("it does not run")
	}
	for _, e := range s.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if e.Type == server.HealthzErrorJetStream || strings.Contains(e.Error, "write error") {
			return errors.New(e.Error)
		}
	}
	return nil
}

// watch starts the server again, in place, when it has latched and its disk has room.
func (s *Server) watch(ctx context.Context) {
	defer close(s.watched)
	told := false
	for pause := lookEvery; ; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		wrong := latched(s.running.Load())
		if wrong == nil {
			pause, told = lookEvery, false
			continue
		}
		if _, err := room(s.o.DataDir); err != nil {
			if !told {
				s.o.Logger.Error("the log's store cannot write; the server is started again as soon as there is room", "because", wrong, "disk", err)
				told = true
			}
			continue
		}
		pause = min(2*pause, lookLast)
		s.o.Logger.Warn("the log's store could not write, and there is room: the server is started again", "because", wrong)
		if err := s.restart(ctx); err != nil {
			s.o.Logger.Error("the log's server does not start again", "error", err)
			continue
		}
		s.o.Logger.Warn("the log's server was started again; its clients connect to it by themselves")
	}
}

// restart gives the server's place to a new one, with the same address, users and
// limits. Its clients see one server process end and another begin.
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

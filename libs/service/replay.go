package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
)

// Events of a replay's stream. The last one is a report or an error.
const (
	ReplayProgress = "progress" // eventlog.Progress
	ReplayReport   = "report"   // eventlog.Report
	ReplayError    = "error"    // {"detail": …}
)

// registerReplay adds the routes that rebuild the service's fold from the log and
// that verify it. They answer with server-sent events and last as long as the
// replay; whoever goes away stops it. Other sites are kept out as for parked events.
func (s *Service) registerReplay() {
	base := "POST /v1/replay/" + s.o.Name
	from := []web.Parameter{{Name: "from", Summary: "where the past is read: log (the default) or archive"}}
	s.mux.Handle(web.Route{Pattern: base + "/rebuild", Role: web.Operator, Summary: "Rebuild the state of " + s.o.Name + " from the log",
		Query: from, Body: struct{}{}, Answer: web.Media("text/event-stream")}, s.replay((*eventlog.Log).Rebuild))
	s.mux.Handle(web.Route{Pattern: base + "/verify", Role: web.Operator, Summary: "Compare the state of " + s.o.Name + " with a fold of the log",
		Query: from, Body: struct{}{}, Answer: web.Media("text/event-stream")}, s.replay((*eventlog.Log).Verify))
}

type replayFunc func(l *eventlog.Log, ctx context.Context, from eventlog.Origin, progress func(eventlog.Progress)) (eventlog.Report, error)

func (s *Service) replay(run replayFunc) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if !web.SentJSON(w, r) {
			return
		}
		from := eventlog.Origin(r.URL.Query().Get("from"))
		switch from {
		case "":
			from = eventlog.FromLog
		case eventlog.FromLog, eventlog.FromArchive:
		default:
			web.Problem(w, http.StatusBadRequest, "Bad origin", fmt.Sprintf("from %q: it is %s or %s", from, eventlog.FromLog, eventlog.FromArchive))
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		// The stream begins with the first event, so that what is refused is a problem.
		var once sync.Once
		var stream *web.Stream
		send := func(event string, v any) {
			once.Do(func() {
				var err error
				if stream, err = web.SSE(w); err != nil {
					cancel()
				}
			})
			if stream == nil || stream.SendJSON(event, "", v) != nil {
				cancel()
			}
		}
		report, err := run(s.log, ctx, from, func(p eventlog.Progress) { send(ReplayProgress, p) })
		switch {
		case err == nil:
			send(ReplayReport, report)
		case stream == nil && (errors.Is(err, eventlog.ErrReplaying) || errors.Is(err, eventlog.ErrNotLeading)):
			web.Problem(w, http.StatusConflict, "Not now", s.o.Name+": "+err.Error())
		case stream == nil:
			web.Problem(w, http.StatusServiceUnavailable, "Not replayed", s.o.Name+": "+err.Error())
		case r.Context().Err() == nil:
			s.logger.Error("a replay failed", "error", err)
			send(ReplayError, map[string]string{"detail": err.Error()})
		}
	}
}

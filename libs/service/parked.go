package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
)

// answerWait is how long a request waits until its answer was applied.
const answerWait = 10 * time.Second

// registerParked adds the routes that list parked events and answer them. Other
// sites are kept out by the listener's guard, and by the content type, which no
// form sends.
func (s *Service) registerParked() {
	base := "/v1/parked/" + s.o.Name
	s.mux.Handle(web.Route{Pattern: "GET " + base, Role: web.Reader, Summary: "List the events that " + s.o.Name + " could not apply",
		Answer: web.Items[eventlog.ParkedEvent]{}}, s.listParked)
	s.mux.Handle(web.Route{Pattern: "POST " + base + "/{event}/{how}", Role: web.Operator, Summary: "Retry or discard a parked event",
		Body: struct{}{}, Answer: resolved{}}, s.answerParked)
}

// resolved is what an answer to a parked event became.
type resolved struct {
	ID       string `json:"id"`       // of the event that says so
	Existing bool   `json:"existing"` // it had been recorded before
}

func (s *Service) listParked(w http.ResponseWriter, r *http.Request) {
	parked, err := s.log.ParkedEvents(r.Context())
	if err != nil {
		web.Problem(w, http.StatusServiceUnavailable, "Not readable", err.Error())
		return
	}
	web.List(w, parked)
}

func (s *Service) answerParked(w http.ResponseWriter, r *http.Request) {
	if !web.SentJSON(w, r) {
		return
	}
	event, how := r.PathValue("event"), r.PathValue("how")
	if how != eventlog.Retry && how != eventlog.Discard {
		web.Problem(w, http.StatusBadRequest, "Bad answer", fmt.Sprintf("%q: a parked event takes %s or %s", how, eventlog.Retry, eventlog.Discard))
		return
	}
	actor, ok := web.Acting(w, r, "operator")
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWait)
	defer cancel()
	receipts, err := s.log.ResolveParked(ctx, event, how, actor)
	switch {
	case err == nil:
		web.JSON(w, http.StatusCreated, resolved{ID: receipts[0].ID, Existing: receipts[0].Existing})
	case len(receipts) == 1 && errors.Is(err, context.DeadlineExceeded):
		web.JSON(w, http.StatusAccepted, resolved{ID: receipts[0].ID, Existing: receipts[0].Existing})
	case errors.Is(err, eventlog.ErrNotParked):
		web.Problem(w, http.StatusNotFound, "Not parked", err.Error()+"; freshet events parked lists what is, each with the id to write")
	default:
		web.Problem(w, http.StatusServiceUnavailable, "Not recorded", err.Error())
	}
}

package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/google/uuid"
)

// Bounds of trials.
const (
	trialIdle    = 2 * time.Minute // after which one is closed
	maxTrialBody = 16 << 20
)

// trials are the folds that somebody leads another way than the log went.
type trials struct {
	mu   sync.Mutex
	open map[string]*trial
}

type trial struct {
	mu    sync.Mutex // one request at a time
	fold  *eventlog.Trial
	idle  *time.Timer
	ended bool
}

// registerTrials adds the routes that begin a trial of the service's fold, give it
// events and end it. Nothing that a trial does is recorded or executed.
func (s *Service) registerTrials() {
	base := "/v1/trials/" + s.o.Name
	s.mux.Handle(web.Route{Pattern: "POST " + base, Role: web.Operator, Summary: "Begin a trial of the fold of " + s.o.Name,
		Body: trialRequest{}, Answer: trialBegun{}}, s.beginTrial)
	s.mux.Handle(web.Route{Pattern: "POST " + base + "/{trial}", Role: web.Operator, Summary: "Give a trial events",
		Body: trialEvents{}, Answer: trialSteps{}}, s.stepTrial)
	s.mux.Handle(web.Route{Pattern: "DELETE " + base + "/{trial}", Role: web.Operator, Summary: "End a trial"}, s.endTrial)
}

// A trialRequest says what a trial begins with.
type trialRequest struct {
	Until   uint64        `json:"until"`             // the last position of the log that is folded
	Instead []event.Event `json:"instead,omitempty"` // these, in the place of the log's with the same ids
}

type trialBegun struct {
	Trial    string   `json:"trial"`
	Consumes []string `json:"consumes"` // types of events
}

// beginTrial folds the log up to a position, with other events in the place of some
// of the log's: {"until": 17, "instead": […]}.
func (s *Service) beginTrial(w http.ResponseWriter, r *http.Request) {
	var ask trialRequest
	if !trialBody(w, r, &ask) {
		return
	}
	if status := s.log.Status(r.Context()); ask.Until > status.Position {
		web.Problem(w, http.StatusBadRequest, "Bad position", fmt.Sprintf("%s has applied the log up to %d, and %d was asked for", s.o.Name,
			status.Position, ask.Until))
		return
	}
	fold, err := s.log.Trial(r.Context(), ask.Until, ask.Instead...)
	if err != nil {
		status := http.StatusServiceUnavailable
		if errors.Is(err, eventlog.ErrTrials) {
			status = http.StatusTooManyRequests
		}
		web.Problem(w, status, "Not begun", err.Error())
		return
	}
	id, one := uuid.NewString(), &trial{fold: fold}
	one.idle = time.AfterFunc(trialIdle, func() {
		if err := s.closeTrial(context.Background(), id); err != nil {
			s.logger.Warn("an idle trial could not be closed", "error", err)
		}
	})
	s.trials.mu.Lock()
	if s.trials.open == nil {
		s.trials.open = map[string]*trial{}
	}
	s.trials.open[id] = one
	s.trials.mu.Unlock()
	web.JSON(w, http.StatusCreated, trialBegun{Trial: id, Consumes: fold.Consumes()})
}

// A trialEvent is an event and where it would stand in the log.
type trialEvent struct {
	At    uint64      `json:"at"`
	Event event.Event `json:"event"`
}

type trialEffect struct {
	Kind  string `json:"kind"`
	Cause string `json:"cause"`
}

type trialStep struct {
	Decisions []event.Event `json:"decisions,omitempty"`
	Opened    []trialEffect `json:"opened,omitempty"`
	Stale     bool          `json:"stale,omitempty"`
	Waits     bool          `json:"waits,omitempty"`
	Failed    string        `json:"failed,omitempty"`
}

type trialEvents struct {
	Events []trialEvent `json:"events"`
}

type trialSteps struct {
	Steps []trialStep `json:"steps"`
}

// stepTrial applies events, in their order, and answers with a step for each.
func (s *Service) stepTrial(w http.ResponseWriter, r *http.Request) {
	var ask trialEvents
	if !trialBody(w, r, &ask) {
		return
	}
	s.trials.mu.Lock()
	one := s.trials.open[r.PathValue("trial")]
	s.trials.mu.Unlock()
	if one == nil {
		web.Problem(w, http.StatusNotFound, "No such trial", "it ended, or was idle for too long; begin another")
		return
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.ended {
		web.Problem(w, http.StatusNotFound, "No such trial", "it has ended; begin another")
		return
	}
	one.idle.Reset(trialIdle)
	steps := make([]trialStep, 0, len(ask.Events))
	for _, e := range ask.Events {
		step, err := one.fold.Step(r.Context(), e.Event, e.At)
		if err != nil {
			web.Problem(w, http.StatusUnprocessableEntity, "Not applied", err.Error())
			return
		}
		out := trialStep{Decisions: step.Decisions, Stale: step.Stale, Waits: step.Waits, Failed: step.Failed}
		for _, o := range step.Opened {
			out.Opened = append(out.Opened, trialEffect(o))
		}
		steps = append(steps, out)
	}
	web.JSON(w, http.StatusOK, trialSteps{Steps: steps})
}

func (s *Service) endTrial(w http.ResponseWriter, r *http.Request) {
	if err := s.closeTrial(r.Context(), r.PathValue("trial")); err != nil {
		web.Problem(w, http.StatusServiceUnavailable, "Not ended", err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// closeTrial drops a trial; one that is not open is no error.
func (s *Service) closeTrial(ctx context.Context, id string) error {
	s.trials.mu.Lock()
	one := s.trials.open[id]
	delete(s.trials.open, id)
	s.trials.mu.Unlock()
	if one == nil {
		return nil
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	one.idle.Stop()
	one.ended = true
	return one.fold.Close(ctx)
}

// closeTrials ends all of them.
func (s *Service) closeTrials(ctx context.Context) error {
	s.trials.mu.Lock()
	ids := make([]string, 0, len(s.trials.open))
	for id := range s.trials.open {
		ids = append(ids, id)
	}
	s.trials.mu.Unlock()
	var err error
	for _, id := range ids {
		err = errors.Join(err, s.closeTrial(ctx, id))
	}
	return err
}

func trialBody(w http.ResponseWriter, r *http.Request, v any) bool {
	if !web.SentJSON(w, r) {
		return false
	}
	b, err := web.Body(w, r, maxTrialBody)
	if err != nil {
		web.BodyProblem(w, err)
		return false
	}
	if err := json.Unmarshal(b, v); err != nil {
		web.Problem(w, http.StatusBadRequest, "Bad request", "the body is not what a trial takes: "+err.Error())
		return false
	}
	return true
}

// Package status projects the log onto the status of ripples: it says how one event
// changes the ripple that it belongs to, in its trigger, its outcome, and what it opens
// and closes.
//
// The result is a function of the event alone. An event whose type has no projection, or
// whose payload cannot be parsed, changes no status: it is only counted.
package status

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
)

// Triggers of ripples.
const (
	Data     = "data"
	Code     = "code"
	Drift    = "drift"
	Quality  = "quality"
	Schedule = "schedule"
	Person   = "person"
	Window   = "window" // closed, and nothing was found so far
	Service  = "service"
)

// Outcomes of ripples.
const (
	Running    = "running"
	Committed  = "committed"
	Rejected   = "rejected"
	Skipped    = "skipped"
	Trained    = "trained"
	Failed     = "failed"
	Cancelled  = "cancelled"
	Refused    = "refused"
	Passed     = "passed"
	Waiting    = "waiting" // for a person
	Denied     = "denied"
	Overtaken  = "overtaken"
	Approved   = "approved"
	RollingOut = "rolling_out"
	RolledBack = "rolled_back"
	Serving    = "serving"
	Drifted    = "drifted"
	Degraded   = "degraded"
	Alerted    = "alerted"
	Resolved   = "resolved"
	Quiet      = "quiet"
	Parked     = "parked"
	Alarm      = "alarm"
	Noted      = "noted"
	Connected  = "connected" // a repository
)

// Whose ripple an outcome belongs to when none of Owners is open.
const (
	OwnRipple     = "own"
	VersionRipple = "version" // that registered Model's Version
	NoRipple      = "none"
)

// An Update is how one event changes the status of a ripple.
type Update struct {
	Trigger string // of the ripple from now on, "" to leave it
	Outcome string // "" to leave it
	Detail  string
	Weak    bool // the outcome only replaces running and quiet

	// Owners are keys of open matters: the outcome is that of the ripple that began
	// one of them. Fallback says whose it is otherwise.
	Owners   []string
	Fallback string
	Model    string
	Version  int64

	Opens  []string
	Closes []string

	Note string // a few words for the graph
}

// Of returns how an event changes the status of a ripple.
func Of(e event.Event) Update {
	s := Update{Fallback: OwnRipple}
	if project, ok := projections[e.Type()]; ok {
		if err := project(e, &s); err != nil {
			return Update{Fallback: OwnRipple}
		}
	} else if strings.HasSuffix(e.Type(), ".event_parked") {
		if p, err := events.Parse[events.EventParked](e); err == nil {
			s.Outcome, s.Detail, s.Note = Parked, shorten(e.Type())+": "+p.Reason, shorten(p.EventType)
		}
	}
	return s
}

// RootTrigger is the trigger of a ripple whose first event has a type.
func RootTrigger(typ string) string {
	switch typ {
	case events.TypeDataArrived:
		return Data
	case events.TypeCodePushed, events.TypeRepositoryConnected:
		return Code
	case events.TypeWindowClosed:
		return Window
	case events.TypeScheduleTicked:
		return Schedule
	case events.TypeApprovalGiven, events.TypeApprovalDenied, events.TypeTrainingAsked, events.TypeRollbackAsked,
		events.TypePromotionAsked, events.TypeNoteAdded, events.TypeCancelAsked:
		return Person
	}
	if strings.HasSuffix(typ, ".event_retried") || strings.HasSuffix(typ, ".event_discarded") {
		return Person
	}
	return Service
}

// Keys of open matters.
func arrival(id string) string           { return "arrival/" + id }
func push(repository, rev string) string { return "push/" + repository + "@" + rev }
func training(request string) string     { return "training/" + request }
func run(id string) string               { return "run/" + id }
func rollout(id string) string           { return "rollout/" + id }
func approval(m string, v int64, env string) string {
	return "approval/" + m + "/" + strconv.FormatInt(v, 10) + "/" + env
}
func approved(m string, v int64, env string) string {
	return "approved/" + m + "/" + strconv.FormatInt(v, 10) + "/" + env
}

// A projector projects events of one type.
type projector func(e event.Event, s *Update) error

func project[P any](parse func(event.Event) (P, error), fn func(e event.Event, p P, s *Update)) projector {
	return func(e event.Event, s *Update) error {
		p, err := parse(e)
		if err != nil {
			return err
		}
		fn(e, p, s)
		return nil
	}
}

func v(version int64) string { return "v" + strconv.FormatInt(version, 10) }

func number(f float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(f, 'f', 4, 64), "0"), ".")
}

func values(m map[string]float64) string {
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+" "+number(m[k]))
	}
	return strings.Join(parts, ", ")
}

func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func short(s string) string {
	s = strings.TrimPrefix(s, "sha256:")
	return s[:min(len(s), 8)]
}

// shorten is the last part of a type, as a phrase.
func shorten(typ string) string {
	return strings.ReplaceAll(typ[strings.LastIndexByte(typ, '.')+1:], "_", " ")
}

// failed lists the gates that were not passed.
func failed(gates []events.GateResult) string {
	var parts []string
	for _, g := range gates {
		if g.Passed {
			continue
		}
		switch {
		case g.FailedToEvaluate:
			parts = append(parts, g.Name+" could not be evaluated")
		default:
			parts = append(parts, fmt.Sprintf("%s (%s)", g.Name, values(g.Values)))
		}
	}
	return strings.Join(parts, ", ")
}

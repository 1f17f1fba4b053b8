package effects

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
)

// A Handler executes one kind of effect. Run returns the draft of the fact that
// ends the effect; an error makes another attempt after a pause, until Attempts
// are used up or the error is Permanent: then Failed's draft ends it.
type Handler struct {
	Kind        string
	Timeout     time.Duration // of one attempt
	Attempts    int
	Concurrency int // executions at once in this process; 1 if zero
	Run         func(ctx context.Context, run *Run) (event.Event, error)
	Failed      func(ctx context.Context, run *Run, err error) (event.Event, error)
}

// A Run is one execution of an effect.
type Run struct {
	ID        string // the effect's
	Kind      string
	Namespace string
	Cause     envelope.Cause // the event that opened it
	Attempt   int            // from 1
	Args      json.RawMessage

	outbox  *outbox.Outbox
	service string
}

// Permanent marks an effect's error as not worth another attempt.
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

package engine

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
)

// An EffectRow is an open effect, as the fold has it.
type EffectRow struct {
	ID        string
	Closes    string // id of the fact that closes it
	Kind      string
	Namespace string
	Cause     envelope.Cause
	Args      json.RawMessage
	Opened    uint64
	Ordinal   int
}

// A TimerRow is a timer that is set, as the fold has it.
type TimerRow struct {
	Namespace  string
	Name       string
	ID         string
	Generation int64
	Due        time.Time
	Root       bool
	Cause      envelope.Cause
	Fact       TimerFact
}

// Key tells a timer from others.
func (r *TimerRow) Key() string { return timerKey(r.Namespace, r.Name) }

func timerKey(namespace, name string) string { return namespace + "\x00" + name }

// A TimerFact is the draft that a timer records, as it is stored.
type TimerFact struct {
	Type       string            `json:"type"`
	Subject    string            `json:"subject"`
	Schema     string            `json:"dataschema"`
	Extensions map[string]string `json:"extensions"`
	Data       json.RawMessage   `json:"data"`
}

func newTimerFact(draft event.Event) (TimerFact, error) {
	if draft.Context == nil || draft.Type() == "" {
		return TimerFact{}, errors.New("the draft of its fact is empty")
	}
	f := TimerFact{Type: draft.Type(), Subject: draft.Subject(), Schema: draft.DataSchema(), Data: draft.Data(), Extensions: map[string]string{}}
	for name, v := range draft.Extensions() {
		if s, ok := v.(string); ok {
			f.Extensions[name] = s
		}
	}
	if !json.Valid(f.Data) {
		return TimerFact{}, errors.New("the payload of its fact is not JSON")
	}
	return f, nil
}

// Draft is the draft again.
func (f TimerFact) Draft() event.Event {
	e := event.New()
	e.SetType(f.Type)
	e.SetSubject(f.Subject)
	if f.Schema != "" {
		e.SetDataSchema(f.Schema)
	}
	for name, v := range f.Extensions {
		e.SetExtension(name, v)
	}
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = f.Data
	return e
}

package engine

import (
	"errors"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
)

// An Event is one event as the log has it.
type Event struct {
	Stream uint64 // sequence in the log
	*Type
	ID       string
	Sequence uint64 // of its source; 0 where it cannot be read
	Data     []byte

	Event   event.Event
	untyped bool // its type is inside it only
	decoded bool
	Err     error // of decoding
}

// Decode reads the event, once.
func (v *Event) Decode(c envelope.Codec) {
	if v.decoded {
		return
	}
	v.decoded = true
	if v.Event, v.Err = c.Decode(v.Data); v.Err == nil {
		id, sequence := v.Event.ID(), envelope.Sequence(v.Event)
		if v.Event.Type() == v.Name && v.Event.Source() == v.Source && (v.ID == "" || id == v.ID) && (v.Sequence == 0 || sequence == v.Sequence) {
			v.ID, v.Sequence = id, sequence
			return
		}
		v.Err = errors.New("the event is not what its subject and headers say")
	}
	if v.ID == "" {
		v.ID = envelope.ForeignID(v.Stream, v.Data)
	}
}

// Foreign says that a message is no event of the service under whose subject it is: no
// service of any version recorded it.
func (v *Event) Foreign() bool { return v.decoded && v.Sequence == 0 }

// Wanted says whether the fold has to see inside the event; of others it is enough
// to know that they were there.
func (v *Event) Wanted() bool {
	if v.ID == "" || v.Sequence == 0 {
		return true
	}
	return !v.Decision && (v.apply != nil || v.decide != nil || v.Resolves != "")
}

// Open decodes an event that the fold has to see inside.
func (g *Engine) Open(v *Event) {
	if v.untyped {
		v.untyped, v.decoded = false, true
		if v.Event, v.Err = g.Codec.Decode(v.Data); v.Err == nil {
			v.Type = g.Type(v.Event.Type())
			v.ID, v.Sequence = v.Event.ID(), envelope.Sequence(v.Event)
			return
		}
		// Who copied it made sure that its type is the one of its subject.
		v.Type = g.Type(envelope.TypeOf(v.Data))
		v.ID = envelope.ForeignID(v.Stream, v.Data)
		return
	}
	if v.Wanted() {
		v.Decode(g.Codec)
	}
}

// Replace puts another event in the place of one that was read.
func (v *Event) Replace(e event.Event) {
	if v.decoded && v.Err == nil {
		v.Event = e
	}
}

// Given is an event that was not read from the log, as if it stood at a position there.
func (g *Engine) Given(e event.Event, at uint64, data []byte) *Event {
	return &Event{Stream: at, Type: g.Type(e.Type()), ID: e.ID(), Event: e, Data: data, decoded: true}
}

// Read is an event as the log's server has it: under a subject, with an id and a number
// of its source, both of which may be missing.
func (g *Engine) Read(stream uint64, subject, id string, sequence uint64, data []byte) *Event {
	return &Event{Stream: stream, Type: g.Published(subject), ID: id, Sequence: sequence, Data: data}
}

// Archived is an event as the archive has it: its type is inside it only, and is known
// once it was opened. Of a message that is no event the archive has the subject.
func (g *Engine) Archived(stream uint64, subject string, data []byte) *Event {
	if subject != "" {
		return &Event{Stream: stream, Type: g.Published(subject), Data: data}
	}
	return &Event{Stream: stream, Type: g.Type(""), Data: data, untyped: true}
}

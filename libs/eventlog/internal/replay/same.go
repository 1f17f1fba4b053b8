package replay

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
)

// same compares a recorded decision with a new one, but for what recording adds:
// sequence and traceparent.
func (j *verifier) same(was, is event.Event) bool {
	if was.Context == nil || is.Context == nil {
		return false
	}
	if sameContext(was, is) && bytes.Equal(was.Data(), is.Data()) {
		return true
	}
	// What is written the same may be held otherwise.
	a, err := j.encode(was)
	if err != nil {
		return false
	}
	b, err := j.encode(is)
	return err == nil && bytes.Equal(a, b)
}

// sameContext compares what is held the same; what it says is not the same may be
// written the same.
func sameContext(was, is event.Event) bool {
	a, ok := was.Context.(*event.EventContextV1)
	b, both := is.Context.(*event.EventContextV1)
	if !ok || !both || a.ID != b.ID || a.Type != b.Type || a.Source != b.Source || !equal(a.Subject, b.Subject) ||
		!equal(a.DataContentType, b.DataContentType) || !equal(a.DataSchema, b.DataSchema) {
		return false
	}
	if (a.Time == nil) != (b.Time == nil) || a.Time != nil && !a.Time.Equal(b.Time.Time) {
		return false
	}
	compared := 0
	for name, v := range a.Extensions {
		if name == envelope.ExtTraceparent {
			continue
		}
		switch v.(type) {
		case string, int32, bool:
			if b.Extensions[name] != v {
				return false
			}
		default:
			return false
		}
		compared++
	}
	if _, ok := b.Extensions[envelope.ExtTraceparent]; ok {
		compared++
	}
	return compared == len(b.Extensions)
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// encode writes a decision with a sequence, which is the same for all, and no
// traceparent.
func (j *verifier) encode(e event.Event) ([]byte, error) {
	e = e.Clone()
	e.SetExtension(envelope.ExtSequence, fmt.Sprintf("%0*d", envelope.SequenceDigits, 1))
	e.SetExtension(envelope.ExtTraceparent, nil)
	return j.r.engine.Codec.Encode(e)
}

// text is a decision as JSON, without what recording adds.
func (j *verifier) text(e event.Event) string {
	if e.Context == nil {
		return ""
	}
	b, err := j.encode(e)
	if err != nil {
		return err.Error()
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil {
		return string(b)
	}
	delete(fields, envelope.ExtSequence)
	if b, err = json.Marshal(fields); err != nil {
		return err.Error()
	}
	return string(b)
}

// Package envelope is what every event of the log carries beside its payload: its id,
// the attributes that place it in a ripple and among its source's events, and the
// subject that it is published under.
//
// # What it guarantees
//
// Ids follow from what an event is of, so that whoever makes it again makes the same
// one. No name that a user chooses becomes more than one token of a subject. An Entry
// is encoded once, before its sequence is known; writing the sequence changes its digits
// and nothing else.
//
// # How it fails
//
// A draft of another service, without a namespace, or that the codec refuses is an
// error, and nothing of it is recorded.
package envelope

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/uuid"
)

// Extensions of an event of the log.
const (
	ExtNamespace   = "namespace"
	ExtCorrelation = "correlationid"
	ExtCausation   = "causationid"
	ExtSequence    = "sequence"
	ExtHops        = "hops"
	ExtActor       = "actor"
	ExtTraceparent = "traceparent"
)

const (
	TypePrefix     = "io.freshet."
	SourcePrefix   = "/freshet/"
	schemaPrefix   = "https://freshet.io/contracts/"
	SequenceDigits = 20
)

// A Cause says why a fact was recorded: the triggering event and its ripple.
// The zero Cause makes the fact a root, and its own id the ripple's.
type Cause struct {
	ID          string // causationid
	Correlation string // correlationid
	Hops        int    // of the cause
	Traceparent string
}

// Codec encodes complete events as structured JSON and decodes them strictly.
// events.Codec is the implementation.
type Codec interface {
	Encode(e event.Event) ([]byte, error)
	Decode(b []byte) (event.Event, error)
}

// idSpace is the UUIDv5 namespace of every id that follows from something else.
var idSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://freshet.io/ids"))

// EffectID is the id of the effect that an event opens: the UUIDv5 of cause,
// kind and ordinal.
func EffectID(cause, kind string, ordinal int) string {
	return uuid.NewSHA1(idSpace, []byte("effect/"+cause+"/"+kind+"/"+strconv.Itoa(ordinal))).String()
}

// DecisionID is the id of the ordinal-th decision that a cause led to.
func DecisionID(cause, typ string, ordinal int) string {
	return uuid.NewSHA1(idSpace, []byte("decision/"+cause+"/"+typ+"/"+strconv.Itoa(ordinal))).String()
}

// TypeOf is the type that bytes say of themselves, also where they are no event.
func TypeOf(data []byte) string {
	var e struct {
		Type string `json:"type"`
	}
	_ = json.Unmarshal(data, &e) // then it is empty
	return e.Type
}

// ForeignID names a message of the log that is no event, by where it is and what it holds.
func ForeignID(stream uint64, data []byte) string {
	return uuid.NewSHA1(idSpace, fmt.Appendf(nil, "foreign/%d/%x", stream, Digest(data))).String()
}

// ResultID is the id of a fact that an effect (ordinal 0 closes it) or a timer
// records.
func ResultID(service, owner string, ordinal int) string {
	return uuid.NewSHA1(idSpace, []byte("fact/"+service+"/"+owner+"/"+strconv.Itoa(ordinal))).String()
}

// FactID is the id that a service's fact with a natural key has, recorded or not. Keys are per service and
// namespace, so that no tenant can take another's.
func FactID(service, namespace string, key ...string) string {
	var b strings.Builder
	b.WriteString("key/" + service + "/" + namespace)
	for _, k := range key {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(k))
	}
	return uuid.NewSHA1(idSpace, []byte(b.String())).String()
}

// FactDigest is what makes two facts of one key the same fact.
func FactDigest(e event.Event) []byte {
	h := sha256.New()
	var n [8]byte
	part := func(s []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write(s)
	}
	part([]byte(e.Type()))
	part([]byte(e.Subject()))
	part([]byte(Namespace(e)))
	part(e.Data())
	return h.Sum(nil)
}

// Namespace is the tenant an event belongs to.
func Namespace(e event.Event) string { return extension(e, ExtNamespace) }

// Correlation is the ripple an event belongs to: the id of its root.
func Correlation(e event.Event) string { return extension(e, ExtCorrelation) }

// Causation is the id of the event that led to this one; empty for a root.
func Causation(e event.Event) string { return extension(e, ExtCausation) }

// Actor is the opaque id of who recorded a fact; empty where nobody did.
func Actor(e event.Event) string { return extension(e, ExtActor) }

// Hops is how many causes lie between the root and this event.
func Hops(e event.Event) int {
	if e.Context == nil {
		return 0
	}
	v, err := e.Context.GetExtension(ExtHops)
	if err != nil {
		return 0
	}
	switch n := v.(type) {
	case int32:
		return int(n)
	case int:
		return n
	case string:
		i, _ := strconv.Atoi(n)
		return i
	}
	return 0
}

// Sequence is the event's number among those of its source, from 1.
func Sequence(e event.Event) uint64 {
	n, _ := strconv.ParseUint(extension(e, ExtSequence), 10, 64)
	return n
}

// CauseOf makes an event the cause of what is recorded because of it.
func CauseOf(e event.Event) Cause {
	return Cause{ID: e.ID(), Correlation: Correlation(e), Hops: Hops(e), Traceparent: extension(e, ExtTraceparent)}
}

func extension(e event.Event, name string) string {
	if c, ok := e.Context.(*event.EventContextV1); ok && c != nil {
		s, _ := c.Extensions[name].(string)
		return s
	}
	if e.Context == nil {
		return ""
	}
	v, err := e.Context.GetExtension(name)
	if err != nil {
		return ""
	}
	s, _ := v.(string)
	return s
}

// sourceURI is a service's source as an attribute.
func sourceURI(service string) types.URIRef {
	return types.URIRef{URL: url.URL{Path: SourcePrefix + service}}
}

// ServiceOf is the owner of an event type, or "".
func ServiceOf(typ string) string {
	rest, ok := strings.CutPrefix(typ, TypePrefix)
	if !ok {
		return ""
	}
	service, _, _ := strings.Cut(rest, ".")
	return service
}

// Place gives a draft its place in the log: everything but its sequence.
func Place(draft event.Event, service, id string, cause Cause, at time.Time, actor string) (event.Event, error) {
	if draft.Context == nil {
		return event.Event{}, errors.New("the draft is empty")
	}
	d, ok := draft.Context.(*event.EventContextV1)
	if !ok || d == nil {
		return event.Event{}, errors.New("the draft is not a CloudEvent 1.0")
	}
	own := *d // attributes are values or never written through; extensions are copied below
	c := &own
	if ServiceOf(c.Type) != service {
		return event.Event{}, fmt.Errorf("%s is not an event of %s", c.Type, service)
	}
	c.ID = id
	c.Source = sourceURI(service)
	c.Time = &types.Timestamp{Time: at.UTC().Truncate(time.Microsecond)}
	ext := make(map[string]any, len(c.Extensions)+6)
	for k, v := range c.Extensions {
		ext[k] = v
	}
	delete(ext, ExtSequence)
	delete(ext, ExtCausation)
	delete(ext, ExtTraceparent)
	if ns, _ := ext[ExtNamespace].(string); ns == "" {
		return event.Event{}, fmt.Errorf("%s has no namespace", c.Type)
	}
	if cause.ID == "" {
		ext[ExtCorrelation], ext[ExtHops] = id, int32(0)
	} else {
		ext[ExtCausation], ext[ExtHops] = cause.ID, int32(cause.Hops+1)
		ext[ExtCorrelation] = cause.Correlation
		if cause.Correlation == "" {
			ext[ExtCorrelation] = cause.ID
		}
	}
	if cause.Traceparent != "" {
		ext[ExtTraceparent] = cause.Traceparent
	}
	if actor != "" {
		ext[ExtActor] = actor
	}
	c.Extensions = ext
	e := draft
	e.Context = c
	return e, nil
}

// Draft makes a draft of an event that every service has.
func Draft(service, name, namespace, subject string, payload []byte) event.Event {
	e := event.New()
	e.SetType(TypePrefix + service + ".v1." + name)
	e.SetSubject(subject)
	e.SetDataSchema(schemaPrefix + service + "/v1/" + name + ".json")
	e.SetExtension(ExtNamespace, namespace)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = payload
	return e
}

// Digest tells one event's bytes from another's.
func Digest(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

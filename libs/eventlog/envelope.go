package eventlog

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
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
	extNamespace   = "namespace"
	extCorrelation = "correlationid"
	extCausation   = "causationid"
	extSequence    = "sequence"
	extHops        = "hops"
	extActor       = "actor"
	extTraceparent = "traceparent"
)

const (
	typePrefix     = "io.freshet."
	sourcePrefix   = "/freshet/"
	schemaPrefix   = "https://freshet.io/contracts/"
	sequenceDigits = 20
)

// idSpace is the UUIDv5 namespace of every id that follows from something else.
var idSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://freshet.io/ids"))

// EffectID is the id of the effect that an event opens: the UUIDv5 of cause,
// kind and ordinal.
func EffectID(cause, kind string, ordinal int) string {
	return uuid.NewSHA1(idSpace, []byte("effect/"+cause+"/"+kind+"/"+strconv.Itoa(ordinal))).String()
}

// decisionID is the id of the ordinal-th decision that a cause led to.
func decisionID(cause, typ string, ordinal int) string {
	return uuid.NewSHA1(idSpace, []byte("decision/"+cause+"/"+typ+"/"+strconv.Itoa(ordinal))).String()
}

// resultID is the id of a fact that an effect (ordinal 0 closes it) or a timer
// records.
func resultID(service, owner string, ordinal int) string {
	return uuid.NewSHA1(idSpace, []byte("fact/"+service+"/"+owner+"/"+strconv.Itoa(ordinal))).String()
}

// keyID is the id of a fact with a natural key. Keys are per service and
// namespace, so that no tenant can take another's.
func keyID(service, namespace string, key []string) string {
	var b strings.Builder
	b.WriteString("key/" + service + "/" + namespace)
	for _, k := range key {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(k))
	}
	return uuid.NewSHA1(idSpace, []byte(b.String())).String()
}

// FactID is the id that a service's fact with a natural key has, recorded or not.
func FactID(service, namespace string, key ...string) string { return keyID(service, namespace, key) }

// factDigest is what makes two facts of one key the same fact.
func factDigest(e event.Event) []byte {
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
func Namespace(e event.Event) string { return extension(e, extNamespace) }

// Correlation is the ripple an event belongs to: the id of its root.
func Correlation(e event.Event) string { return extension(e, extCorrelation) }

// Causation is the id of the event that led to this one; empty for a root.
func Causation(e event.Event) string { return extension(e, extCausation) }

// Actor is the opaque id of who recorded a fact; empty where nobody did.
func Actor(e event.Event) string { return extension(e, extActor) }

// Hops is how many causes lie between the root and this event.
func Hops(e event.Event) int {
	if e.Context == nil {
		return 0
	}
	v, err := e.Context.GetExtension(extHops)
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
	n, _ := strconv.ParseUint(extension(e, extSequence), 10, 64)
	return n
}

// CauseOf makes an event the cause of what is recorded because of it.
func CauseOf(e event.Event) Cause {
	return Cause{ID: e.ID(), Correlation: Correlation(e), Hops: Hops(e), Traceparent: extension(e, extTraceparent)}
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
	return types.URIRef{URL: url.URL{Path: sourcePrefix + service}}
}

// serviceOf is the owner of an event type, or "".
func serviceOf(typ string) string {
	rest, ok := strings.CutPrefix(typ, typePrefix)
	if !ok {
		return ""
	}
	service, _, _ := strings.Cut(rest, ".")
	return service
}

// place gives a draft its place in the log: everything but its sequence.
func place(draft event.Event, service, id string, cause Cause, at time.Time, actor string) (event.Event, error) {
	if draft.Context == nil {
		return event.Event{}, errors.New("the draft is empty")
	}
	d, ok := draft.Context.(*event.EventContextV1)
	if !ok || d == nil {
		return event.Event{}, errors.New("the draft is not a CloudEvent 1.0")
	}
	own := *d // attributes are values or never written through; extensions are copied below
	c := &own
	if serviceOf(c.Type) != service {
		return event.Event{}, fmt.Errorf("%s is not an event of %s", c.Type, service)
	}
	c.ID = id
	c.Source = sourceURI(service)
	c.Time = &types.Timestamp{Time: at.UTC().Truncate(time.Microsecond)}
	ext := make(map[string]any, len(c.Extensions)+6)
	for k, v := range c.Extensions {
		ext[k] = v
	}
	delete(ext, extSequence)
	delete(ext, extCausation)
	delete(ext, extTraceparent)
	if ns, _ := ext[extNamespace].(string); ns == "" {
		return event.Event{}, fmt.Errorf("%s has no namespace", c.Type)
	}
	if cause.ID == "" {
		ext[extCorrelation], ext[extHops] = id, int32(0)
	} else {
		ext[extCausation], ext[extHops] = cause.ID, int32(cause.Hops+1)
		ext[extCorrelation] = cause.Correlation
		if cause.Correlation == "" {
			ext[extCorrelation] = cause.ID
		}
	}
	if cause.Traceparent != "" {
		ext[extTraceparent] = cause.Traceparent
	}
	if actor != "" {
		ext[extActor] = actor
	}
	c.Extensions = ext
	e := draft
	e.Context = c
	return e, nil
}

// An entry is an event on its way to the outbox. It is encoded before its
// sequence is known, with random digits in its place, so that callers encode in
// parallel and only the digits are written under the counter's lock.
type entry struct {
	id      string
	subject string // in the log
	cause   string // of a decision; empty for a fact
	digest  []byte // of a fact
	event   event.Event
	// firstWins: an effect's or timer's fact; what was recorded first under its id stands
	firstWins bool

	bytes    []byte
	at       int // where the digits are
	sequence uint64
}

func newEntry(codec Codec, e event.Event) (*entry, error) {
	subject, err := Subject(e)
	if err != nil {
		return nil, err
	}
	c := e.Context.(*event.EventContextV1)
	digits := placeholder
	for range 3 {
		c.Extensions[extSequence] = digits
		b, err := codec.Encode(e)
		delete(c.Extensions, extSequence)
		if err != nil {
			return nil, err
		}
		at := bytes.Index(b, []byte(digits))
		if at >= 0 && !bytes.Contains(b[at+1:], []byte(digits)) {
			return &entry{id: c.ID, subject: subject, event: e, bytes: b, at: at}, nil
		}
		digits = randomDigits()
	}
	return nil, errors.New("the codec does not write the sequence extension")
}

// placeholder stands for the sequence in events that are being encoded. It is
// random and never leaves the process, so that no payload can hold it on purpose.
var placeholder = randomDigits()

func randomDigits() string {
	var r [8]byte
	_, _ = rand.Read(r[:]) // never fails
	return fmt.Sprintf("%020d", binary.BigEndian.Uint64(r[:])|1<<63)
}

// number writes the sequence into the encoded event.
func (n *entry) number(sequence uint64) {
	n.sequence = sequence
	for i := n.at + sequenceDigits - 1; i >= n.at; i-- {
		n.bytes[i] = byte('0' + sequence%10)
		sequence /= 10
	}
}

// jsonDraft makes a draft of an event that every service has.
func jsonDraft(service, name, namespace, subject string, payload []byte) event.Event {
	e := event.New()
	e.SetType(typePrefix + service + ".v1." + name)
	e.SetSubject(subject)
	e.SetDataSchema(schemaPrefix + service + "/v1/" + name + ".json")
	e.SetExtension(extNamespace, namespace)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = payload
	return e
}

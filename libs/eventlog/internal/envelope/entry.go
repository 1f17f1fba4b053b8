package envelope

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
)

// An Entry is an event on its way to the outbox. It is encoded before its
// sequence is known, with random digits in its place, so that callers encode in
// parallel and only the digits are written under the counter's lock.
type Entry struct {
	ID      string
	Subject string // in the log
	Cause   string // of a decision; empty for a fact
	Digest  []byte // of a fact
	Event   event.Event
	// FirstWins: an effect's or timer's fact; what was recorded first under its id stands
	FirstWins bool

	Bytes    []byte
	at       int // where the digits are
	Sequence uint64
}

func NewEntry(codec Codec, e event.Event) (*Entry, error) {
	subject, err := Subject(e)
	if err != nil {
		return nil, err
	}
	c := e.Context.(*event.EventContextV1)
	digits := placeholder
	for range 3 {
		c.Extensions[ExtSequence] = digits
		b, err := codec.Encode(e)
		delete(c.Extensions, ExtSequence)
		if err != nil {
			return nil, err
		}
		at := bytes.Index(b, []byte(digits))
		if at >= 0 && !bytes.Contains(b[at+1:], []byte(digits)) {
			return &Entry{ID: c.ID, Subject: subject, Event: e, Bytes: b, at: at}, nil
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

// Number writes the sequence into the encoded event.
func (n *Entry) Number(sequence uint64) {
	n.Sequence = sequence
	for i := n.at + SequenceDigits - 1; i >= n.at; i-- {
		n.Bytes[i] = byte('0' + sequence%10)
		sequence /= 10
	}
}

package attest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoMessage: the stream does not have the message.
var ErrNoMessage = errors.New("no such message in the log")

// A Message is one of a stream.
type Message struct {
	Subject  string      `json:"subject"`
	Sequence uint64      `json:"seq"`
	Header   nats.Header `json:"-"`
	Data     []byte      `json:"data"`
	Time     time.Time   `json:"time"` // when it was stored, by the server's clock
}

// At reads the message at a sequence, from the stream's leader: a client's own way asks
// any replica, which may be behind.
func At(ctx context.Context, nc *nats.Conn, stream string, sequence uint64) (Message, error) {
	m, err := get(ctx, nc, stream, map[string]any{"seq": sequence})
	if err == nil && m.Sequence != sequence {
		err = errors.New("the server answered with another message")
	}
	if err != nil {
		return Message{}, fmt.Errorf("%s at %d: %w", stream, sequence, err)
	}
	return m, nil
}

// Last reads the last message under subjects, from the stream's leader.
func Last(ctx context.Context, nc *nats.Conn, stream, subjects string) (Message, error) {
	m, err := get(ctx, nc, stream, map[string]any{"last_by_subj": subjects})
	if err != nil {
		return Message{}, fmt.Errorf("%s, the last of %s: %w", stream, subjects, err)
	}
	return m, nil
}

func get(ctx context.Context, nc *nats.Conn, stream string, which map[string]any) (Message, error) {
	ask, err := json.Marshal(which)
	if err != nil {
		return Message{}, err
	}
	reply, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, ask)
	if err != nil {
		return Message{}, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Message
			Headers []byte `json:"hdrs"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return Message{}, err
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return Message{}, ErrNoMessage
	case answer.Error != nil:
		return Message{}, answer.Error
	case answer.Message == nil:
		return Message{}, errors.New("the server's answer has no message")
	}
	m := answer.Message.Message
	if raw := answer.Message.Headers; len(raw) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(raw); err != nil {
			return Message{}, fmt.Errorf("the headers at %d: %w", m.Sequence, err)
		}
	}
	return m, nil
}

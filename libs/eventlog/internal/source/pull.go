package source

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Silence is after how long without a message a pull is given up.
const Silence = 10 * time.Second

// A pull reads a stretch of the log that is known to be there, as fast as the server
// sends it. Unlike an ordered consumer, which waits for what is still to come, it sets
// no timer for each message. It promises that nothing was lost between the server and
// here; what the stream itself no longer has is for the caller to see.
type pull struct {
	k        *lead.LogSession
	stream   jetstream.Stream
	consumer string
	sub      *nats.Subscription
	messages chan *nats.Msg
	stuck    *time.Timer

	left     uint64 // to be asked for
	pending  uint64 // asked for, and not here
	received uint64
}

// newPull begins at a sequence, for so many messages. The caller closes it.
func newPull(ctx context.Context, k *lead.LogSession, from, count uint64) (*pull, error) {
	p := &pull{k: k, messages: make(chan *nats.Msg, 2*ChunkEvents), left: count}
	var err error
	if p.stream, err = k.JS.Stream(ctx, k.Stream); err != nil {
		return nil, err
	}
	c, err := p.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: Silence,
	})
	if err != nil {
		return nil, err
	}
	p.consumer = c.CachedInfo().Name
	if p.sub, err = k.Conn.ChanSubscribe(k.Conn.NewInbox(), p.messages); err != nil {
		return nil, err
	}
	p.stuck = time.NewTimer(Silence)
	return p, nil
}

func (p *pull) close(ctx context.Context) {
	p.stuck.Stop()
	_ = p.sub.Unsubscribe() // ends with the connection, if not now
	if p.k.Gone() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = p.stream.DeleteConsumer(ctx, p.consumer) // goes by itself, if not now
}

// next is the next message, and where it is.
func (p *pull) next(ctx context.Context) (*nats.Msg, *nats.MsgMetadata, error) {
	if p.left > 0 && p.pending <= ChunkEvents {
		n := min(p.left, ChunkEvents) // so that there is room for all that may come
		body := fmt.Appendf(nil, `{"batch":%d}`, n)
		if err := p.k.Conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+p.k.Stream+"."+p.consumer, p.sub.Subject, body); err != nil {
			return nil, nil, err
		}
		p.left, p.pending = p.left-n, p.pending+n
	}
	m, err := p.receive(ctx)
	if err != nil {
		return nil, nil, err
	}
	where, err := m.Metadata()
	if err != nil { // none of the log's: the end of a request
		return nil, nil, fmt.Errorf("the consumer ended: %s %s", m.Header.Get("Status"), m.Header.Get("Description"))
	}
	p.pending, p.received = p.pending-1, p.received+1
	if where.Sequence.Consumer != p.received {
		return nil, nil, fmt.Errorf("messages were lost on the way: %d came as number %d", where.Sequence.Consumer, p.received)
	}
	return m, where, nil
}

func (p *pull) receive(ctx context.Context) (*nats.Msg, error) {
	select {
	case m := <-p.messages:
		return m, nil
	default:
	}
	p.stuck.Reset(Silence)
	select {
	case m := <-p.messages:
		return m, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-p.stuck.C:
		return nil, attest.ErrSilent
	}
}

package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

const (
	maxPublish      = 1000    // messages of an atomic batch; the server allows no more
	maxPublishBytes = 4 << 20 // of a batch
	// few events are published one by one: the server stages an atomic batch in a
	// directory of its own, which takes as long as ten messages' syncs.
	few            = 10
	maxHandOff     = 50_000 // entries kept in memory; the rest is read from the outbox
	publishTimeout = 8 * time.Second
	pollOutbox     = time.Second

	codeWrongLastSequence = 10071
)

// The relay carries the outbox into the log, in order and once: every batch is
// appended only where the service's last event is the one before it.
type Relay struct {
	o    *Outbox
	wake chan struct{}

	mu     sync.Mutex
	active bool
	queue  []*envelope.Entry // committed, to be published, by sequence

	last      uint64 // the log's sequence of the service's last event
	next      uint64 // of the source
	recorded  atomic.Uint64
	published atomic.Uint64
}

func newRelay(o *Outbox) *Relay { return &Relay{o: o, wake: make(chan struct{}, 1)} }

// offer hands over committed entries. It never blocks: what is not kept in
// memory is read from the outbox.
func (r *Relay) offer(entries []*envelope.Entry) {
	if len(entries) == 0 {
		return
	}
	r.raise(&r.recorded, entries[len(entries)-1].Sequence)
	r.mu.Lock()
	active := r.active
	if active && len(r.queue)+len(entries) <= maxHandOff {
		r.queue = append(r.queue, entries...)
	}
	r.mu.Unlock()
	if active {
		r.poke()
	} else if err := r.o.nats.Publish(hintSubject(r.o.service), nil); err != nil {
		r.o.logger.Debug("no hint to the leading process; it polls", "error", err)
	}
}

func (r *Relay) raise(v *atomic.Uint64, to uint64) {
	for {
		old := v.Load()
		if to <= old || v.CompareAndSwap(old, to) {
			return
		}
	}
}

func (r *Relay) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Lag is how many events of the outbox are not in the log, as far as is known.
func (r *Relay) Lag() int64 { return max(0, int64(r.recorded.Load())-int64(r.published.Load())) }

// hintSubject is where processes tell the leading one that there is something in
// the outbox. A hint may be lost.
func hintSubject(service string) string { return "freshet-hint." + envelope.Token(service) }

// Run publishes until the context ends. An alarm stops it for good.
func (r *Relay) Run(ctx context.Context, k *lead.LogSession) {
	r.mu.Lock()
	r.active, r.queue = true, nil
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.active, r.queue = false, nil
		r.mu.Unlock()
	}()
	if sub, err := r.o.nats.Subscribe(hintSubject(r.o.service), func(*nats.Msg) { r.poke() }); err == nil {
		defer func() { _ = sub.Unsubscribe() }()
	}
	known := false
	for try := 0; ctx.Err() == nil; {
		err := r.step(ctx, k, &known)
		switch {
		case err == nil:
			try = 0
			r.o.board.Set(stall.Relay, nil)
		case ctx.Err() != nil:
			return
		case stall.IsAlarm(err):
			r.o.board.Set(stall.Relay, fmt.Errorf("relay stopped: %w", err))
			r.o.logger.Error("the relay stopped on an alarm", "error", err)
			<-ctx.Done()
			return
		default:
			known = false
			r.o.board.Set(stall.Relay, fmt.Errorf("relay: %w", err))
			if stall.Pause(ctx, try) != nil {
				return
			}
			try++
		}
	}
}

// step publishes one batch, or waits for one.
func (r *Relay) step(ctx context.Context, k *lead.LogSession, known *bool) error {
	if !*known {
		if err := r.resume(ctx, k); err != nil {
			return err
		}
		*known = true
	}
	batch, err := r.take(ctx)
	if err != nil {
		return err
	}
	if len(batch) == 0 {
		t := time.NewTimer(pollOutbox)
		defer t.Stop()
		select {
		case <-r.wake:
		case <-t.C:
		case <-ctx.Done():
		}
		return nil
	}
	last, err := r.publish(ctx, k, batch)
	if errors.Is(err, errWrongLast) {
		// Somebody published, or an earlier try of ours did arrive.
		before := r.next
		if err := r.resume(ctx, k); err != nil {
			return err
		}
		if r.next == before {
			return stall.Pause(ctx, 0)
		}
		return nil
	}
	if err != nil {
		return err
	}
	r.last, r.next = last, batch[len(batch)-1].Sequence+1
	r.raise(&r.published, r.next-1)
	return nil
}

// resume asks the log for the service's last event. It must be what the outbox
// has under its sequence; what follows it there is to be published.
func (r *Relay) resume(ctx context.Context, k *lead.LogSession) error {
	first, _, err := k.Bounds(ctx) // which makes sure that it is the stream that was attested
	if err != nil {
		return err
	}
	m, err := r.o.source.LastOwn(ctx, k)
	if errors.Is(err, attest.ErrNoMessage) {
		// What the service has in the log lies before the stream's first message, and
		// the fold counted it when it passed there.
		position, own := r.o.engine.Counted()
		if position+1 < first {
			return fmt.Errorf("the position, %d, is before the log's first event, %d", position, first)
		}
		r.last, r.next = m.End, own+1
		r.raise(&r.recorded, own)
		r.raise(&r.published, own)
		return nil
	}
	if err != nil {
		return err
	}
	var own []byte
	err = r.o.pool.QueryRow(ctx, "SELECT event FROM "+schema.IO(r.o.schema)+".outbox WHERE sequence = $1", int64(m.Sequence)).Scan(&own)
	if errors.Is(err, pgx.ErrNoRows) {
		return stall.Alarmf("the log has event %d of %s (at %d), which the outbox does not know", m.Sequence, r.o.service, m.Stream)
	}
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	if !bytes.Equal(own, m.Data) {
		return stall.Alarmf("event %d of %s in the log (at %d) is not the one in the outbox", m.Sequence, r.o.service, m.Stream)
	}
	r.last, r.next = m.End, m.Sequence+1
	r.raise(&r.recorded, m.Sequence)
	r.raise(&r.published, m.Sequence)
	return nil
}

// take returns what is to be published next: from memory, else from the outbox.
func (r *Relay) take(ctx context.Context) ([]*envelope.Entry, error) {
	r.mu.Lock()
	for len(r.queue) > 0 && r.queue[0].Sequence < r.next {
		r.queue[0], r.queue = nil, r.queue[1:]
	}
	if len(r.queue) > 0 && r.queue[0].Sequence == r.next {
		n, size := 0, 0
		for n < len(r.queue) && n < maxPublish && size < maxPublishBytes && r.queue[n].Sequence == r.next+uint64(n) {
			size += len(r.queue[n].Bytes)
			n++
		}
		if n <= few {
			n = 1
		}
		batch := append([]*envelope.Entry(nil), r.queue[:n]...)
		clear(r.queue[:n])
		r.queue = r.queue[n:]
		r.mu.Unlock()
		return batch, nil
	}
	r.mu.Unlock()
	return r.read(ctx)
}

func (r *Relay) read(ctx context.Context) ([]*envelope.Entry, error) {
	rows, err := r.o.pool.Query(ctx, "SELECT sequence, id::text, subject, event FROM "+schema.IO(r.o.schema)+
		".outbox WHERE sequence >= $1 ORDER BY sequence LIMIT $2", int64(r.next), maxPublish)
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	var batch []*envelope.Entry
	var sequence int64
	var id, subject string
	var b []byte
	size := 0
	_, err = pgx.ForEachRow(rows, []any{&sequence, &id, &subject, &b}, func() error {
		if uint64(sequence) != r.next+uint64(len(batch)) {
			return stall.Alarmf("the outbox of %s has a gap before %d", r.o.service, sequence)
		}
		if size < maxPublishBytes {
			batch = append(batch, &envelope.Entry{ID: id, Sequence: uint64(sequence), Subject: subject, Bytes: bytes.Clone(b)})
		}
		size += len(b)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	if len(batch) > 0 {
		r.raise(&r.recorded, batch[len(batch)-1].Sequence)
	}
	return batch, nil
}

// errWrongLast: the service's last event in the log is another one.
var errWrongLast = errors.New("the log's last event is another")

// publish appends a batch to the log, all or nothing, and returns the log's
// sequence of its last event.
func (r *Relay) publish(ctx context.Context, k *lead.LogSession, batch []*envelope.Entry) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	var reply *nats.Msg
	id := ""
	if len(batch) > 1 {
		id = nuid.Next()
	}
	for i, e := range batch {
		h := make(nats.Header, 7)
		h[source.HeaderID] = []string{e.ID}
		h[source.HeaderSequence] = []string{strconv.FormatUint(e.Sequence, 10)}
		if i == 0 {
			h["Nats-Expected-Stream"] = []string{k.Stream}
			h["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(r.last, 10)}
			h["Nats-Expected-Last-Subject-Sequence-Subject"] = []string{envelope.OwnSubjects(r.o.service)}
		}
		if id != "" {
			h["Nats-Batch-Id"] = []string{id}
			h["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		}
		m := &nats.Msg{Subject: e.Subject, Header: h, Data: e.Bytes}
		var err error
		if i < len(batch)-1 {
			err = k.Conn.PublishMsg(m)
		} else {
			if id != "" {
				h["Nats-Batch-Commit"] = []string{"1"}
			}
			reply, err = k.Conn.RequestMsgWithContext(ctx, m)
		}
		if err != nil {
			return 0, fmt.Errorf("publish: %w", err)
		}
	}
	var ack struct {
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
		Count  int    `json:"count"`
		Error  *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return 0, fmt.Errorf("publish: %w", err)
	}
	switch {
	case ack.Error != nil && ack.Error.Code == codeWrongLastSequence:
		return 0, errWrongLast
	case ack.Error != nil:
		return 0, fmt.Errorf("publish: %s (%d)", ack.Error.Description, ack.Error.Code)
	case ack.Stream != k.Stream || ack.Seq == 0 || id != "" && ack.Count != len(batch):
		return 0, fmt.Errorf("publish: unexpected acknowledgement %q", reply.Data)
	}
	return ack.Seq, nil
}

// Published notes how far the service's events are in the log, where another process
// publishes them.
func (r *Relay) Published(sequence uint64) { r.raise(&r.published, sequence) }

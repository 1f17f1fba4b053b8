package eventlog

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

	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

const (
	maxPublish      = 1000    // messages of an atomic batch; the server allows no more
	maxPublishBytes = 4 << 20 // of a batch
	maxHandOff      = 50_000  // entries kept in memory; the rest is read from the outbox
	publishTimeout  = 8 * time.Second
	pollOutbox      = time.Second

	codeWrongLastSequence = 10071

	headerID       = "Freshet-Id"
	headerSequence = "Freshet-Sequence"
)

// The relay carries the outbox into the log, in order and once: every batch is
// appended only where the service's last event is the one before it.
type relay struct {
	l    *Log
	wake chan struct{}

	mu     sync.Mutex
	active bool
	queue  []*entry // committed, to be published, by sequence

	last      uint64 // the log's sequence of the service's last event
	next      uint64 // of the source
	recorded  atomic.Uint64
	published atomic.Uint64
}

func newRelay(l *Log) *relay { return &relay{l: l, wake: make(chan struct{}, 1)} }

// offer hands over committed entries. It never blocks: what is not kept in
// memory is read from the outbox.
func (r *relay) offer(entries []*entry) {
	if len(entries) == 0 {
		return
	}
	r.raise(&r.recorded, entries[len(entries)-1].sequence)
	r.mu.Lock()
	active := r.active
	if active && len(r.queue)+len(entries) <= maxHandOff {
		r.queue = append(r.queue, entries...)
	}
	r.mu.Unlock()
	if active {
		r.poke()
	} else if err := r.l.nc.Publish(hintSubject(r.l.service), nil); err != nil {
		r.l.logger.Debug("no hint to the leading process; it polls", "err", err)
	}
}

func (r *relay) raise(v *atomic.Uint64, to uint64) {
	for {
		old := v.Load()
		if to <= old || v.CompareAndSwap(old, to) {
			return
		}
	}
}

func (r *relay) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *relay) lag() int64 { return max(0, int64(r.recorded.Load())-int64(r.published.Load())) }

// hintSubject is where processes tell the leading one that there is something in
// the outbox. A hint may be lost.
func hintSubject(service string) string { return "freshet-hint." + Token(service) }

// run publishes until the context ends. An alarm stops it for good.
func (r *relay) run(ctx context.Context, k *link) {
	r.mu.Lock()
	r.active, r.queue = true, nil
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.active, r.queue = false, nil
		r.mu.Unlock()
	}()
	if sub, err := r.l.nc.Subscribe(hintSubject(r.l.service), func(*nats.Msg) { r.poke() }); err == nil {
		defer func() { _ = sub.Unsubscribe() }()
	}
	known := false
	for try := 0; ctx.Err() == nil; {
		err := r.step(ctx, k, &known)
		var a *alarm
		switch {
		case err == nil:
			try = 0
			r.l.setTrouble(troubleRelay, nil)
		case ctx.Err() != nil:
			return
		case errors.As(err, &a):
			r.l.setTrouble(troubleRelay, fmt.Errorf("relay stopped: %w", err))
			r.l.logger.Error("the relay stopped on an alarm", "err", err)
			<-ctx.Done()
			return
		default:
			known = false
			r.l.setTrouble(troubleRelay, fmt.Errorf("relay: %w", err))
			if pause(ctx, try) != nil {
				return
			}
			try++
		}
	}
}

// step publishes one batch, or waits for one.
func (r *relay) step(ctx context.Context, k *link, known *bool) error {
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
			return pause(ctx, 0)
		}
		return nil
	}
	if err != nil {
		return err
	}
	r.last, r.next = last, batch[len(batch)-1].sequence+1
	r.raise(&r.published, r.next-1)
	return nil
}

// resume asks the log for the service's last event. It must be what the outbox
// has under its sequence; what follows it there is to be published.
func (r *relay) resume(ctx context.Context, k *link) error {
	first, _, err := k.bounds(ctx) // which makes sure that it is the stream that was attested
	if err != nil {
		return err
	}
	m, err := r.l.lastOwn(ctx, k)
	if errors.Is(err, epoch.ErrNoMessage) {
		// What the service has in the log lies before the stream's first message, and
		// the fold counted it when it passed there.
		position, own := r.l.counted()
		if position+1 < first {
			return fmt.Errorf("the position, %d, is before the log's first event, %d", position, first)
		}
		r.last, r.next = 0, own+1
		r.raise(&r.recorded, own)
		r.raise(&r.published, own)
		return nil
	}
	if err != nil {
		return err
	}
	var own []byte
	err = r.l.pool.QueryRow(ctx, "SELECT event FROM "+quote(r.l.schema+"_io")+".outbox WHERE sequence = $1", int64(m.sequence)).Scan(&own)
	if errors.Is(err, pgx.ErrNoRows) {
		return alarmf("the log has event %d of %s (at %d), which the outbox does not know", m.sequence, r.l.service, m.stream)
	}
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	if !bytes.Equal(own, m.data) {
		return alarmf("event %d of %s in the log (at %d) is not the one in the outbox", m.sequence, r.l.service, m.stream)
	}
	r.last, r.next = m.stream, m.sequence+1
	r.raise(&r.recorded, m.sequence)
	r.raise(&r.published, m.sequence)
	return nil
}

// take returns what is to be published next: from memory, else from the outbox.
func (r *relay) take(ctx context.Context) ([]*entry, error) {
	r.mu.Lock()
	for len(r.queue) > 0 && r.queue[0].sequence < r.next {
		r.queue[0], r.queue = nil, r.queue[1:]
	}
	if len(r.queue) > 0 && r.queue[0].sequence == r.next {
		n, size := 0, 0
		for n < len(r.queue) && n < maxPublish && size < maxPublishBytes && r.queue[n].sequence == r.next+uint64(n) {
			size += len(r.queue[n].bytes)
			n++
		}
		batch := append([]*entry(nil), r.queue[:n]...)
		clear(r.queue[:n])
		r.queue = r.queue[n:]
		r.mu.Unlock()
		return batch, nil
	}
	r.mu.Unlock()
	return r.read(ctx)
}

func (r *relay) read(ctx context.Context) ([]*entry, error) {
	rows, err := r.l.pool.Query(ctx, "SELECT sequence, id::text, subject, event FROM "+quote(r.l.schema+"_io")+".outbox WHERE sequence >= $1 ORDER BY sequence LIMIT $2", int64(r.next), maxPublish)
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	var batch []*entry
	var sequence int64
	var id, subject string
	var b []byte
	size := 0
	_, err = pgx.ForEachRow(rows, []any{&sequence, &id, &subject, &b}, func() error {
		if uint64(sequence) != r.next+uint64(len(batch)) {
			return alarmf("the outbox of %s has a gap before %d", r.l.service, sequence)
		}
		if size < maxPublishBytes {
			batch = append(batch, &entry{id: id, sequence: uint64(sequence), subject: subject, bytes: bytes.Clone(b)})
		}
		size += len(b)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	if len(batch) > 0 {
		r.raise(&r.recorded, batch[len(batch)-1].sequence)
	}
	return batch, nil
}

// errWrongLast: the service's last event in the log is another one.
var errWrongLast = errors.New("the log's last event is another")

// publish appends a batch to the log, all or nothing, and returns the log's
// sequence of its last event.
func (r *relay) publish(ctx context.Context, k *link, batch []*entry) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	var reply *nats.Msg
	id := ""
	if len(batch) > 1 {
		id = nuid.Next()
	}
	for i, e := range batch {
		h := make(nats.Header, 7)
		h[headerID] = []string{e.id}
		h[headerSequence] = []string{strconv.FormatUint(e.sequence, 10)}
		if i == 0 {
			h["Nats-Expected-Stream"] = []string{k.stream}
			h["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(r.last, 10)}
			h["Nats-Expected-Last-Subject-Sequence-Subject"] = []string{ownSubjects(r.l.service)}
		}
		if id != "" {
			h["Nats-Batch-Id"] = []string{id}
			h["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		}
		m := &nats.Msg{Subject: e.subject, Header: h, Data: e.bytes}
		var err error
		if i < len(batch)-1 {
			err = k.nc.PublishMsg(m)
		} else {
			if id != "" {
				h["Nats-Batch-Commit"] = []string{"1"}
			}
			reply, err = k.nc.RequestMsgWithContext(ctx, m)
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
	case ack.Stream != k.stream || ack.Seq == 0 || id != "" && ack.Count != len(batch):
		return 0, fmt.Errorf("publish: unexpected acknowledgement %q", reply.Data)
	}
	return ack.Seq, nil
}

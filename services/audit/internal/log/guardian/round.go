package guardian

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const sourcePrefix = "/freshet/"

// A origin is an event's in its source: what an outbox finds it by.
type origin struct {
	source   string
	sequence uint64
}

// An entry is what belongs at a sequence of the log.
type entry struct {
	origin
	digest []byte // nil where only the id is known
	id     string
	data   []byte // nil where its owner has to give it
	by     string // who says so
}

// heard is what a service reported in this round.
type heard struct {
	position
	runs     bool // under an attestation of this server that an earlier guardian gave
	tail     []attest.Applied
	tailDone bool
}

func (h *heard) tailAfter(archived uint64) uint64 {
	if n := len(h.tail); n > 0 {
		return h.tail[n-1].Sequence
	}
	return archived
}

// A round is the way to an attestation, for one server process.
type round struct {
	g      *Guardian
	nc     *nats.Conn
	js     jetstream.JetStream
	server string
	began  time.Time

	registered map[string]position
	heard      map[string]*heard

	examined bool
	archived uint64
	current  *stream
	checked  time.Time // at the attested stream
	trimmed  time.Time
	blocked  blocked

	wanted  []origin          // events that their owners are asked for
	found   map[origin][]byte // what they gave
	lacking map[origin]bool   // what they do not have

	wait  string
	alarm bool
	at    *attestation
}

// withhold logs, and answers to services, why the log is not attested.
func (r *round) withhold(alarm bool, format string, args ...any) {
	wait := fmt.Sprintf(format, args...)
	if wait != r.wait {
		if alarm {
			r.g.o.Logger.Error("the log cannot be attested", "reason", wait)
		} else {
			r.g.o.Logger.Info("the log is not attested yet", "reason", wait)
		}
	}
	r.wait, r.alarm = wait, alarm
}

// note notes what a service says of itself.
func (r *round) note(ctx context.Context, p attest.Report) error {
	if err := r.g.register(ctx, p); err != nil {
		return err
	}
	now := position{epoch: p.Epoch, sequence: p.Sequence, digest: p.Digest, stopped: p.Leaves}
	r.registered[p.Service] = now
	if p.Leaves {
		delete(r.heard, p.Service)
		return nil
	}
	h := r.heard[p.Service]
	if h == nil || p.Runs || h.sequence != p.Sequence || !bytes.Equal(h.digest, p.Digest) {
		h = &heard{}
		r.heard[p.Service] = h
	}
	h.position, h.runs = now, p.Runs
	if r.at != nil {
		return nil
	}
	if !h.tailDone {
		for _, a := range p.Tail {
			if a.Sequence > h.tailAfter(r.archived) {
				h.tail = append(h.tail, a)
			}
		}
		h.tailDone = p.TailDone
	}
	source := sourcePrefix + p.Service
	for _, e := range p.Events {
		r.found[origin{source, e.Sequence}] = e.Data
		delete(r.lacking, origin{source, e.Sequence})
	}
	for _, n := range p.Lacks {
		r.lacking[origin{source, n}] = true
	}
	return nil
}

// missing are the services whose position is not certain: they were not heard of,
// and did not say that they stopped, or stopped beyond what is known to be there.
func (r *round) missing(known uint64) []string {
	var out []string
	for name, p := range r.registered {
		if r.heard[name] == nil && (!p.stopped || p.sequence > known) {
			out = append(out, fmt.Sprintf("%s (last reported at %d)", name, p.sequence))
		}
	}
	slices.Sort(out)
	return out
}

// advance brings the round further: it attests, opens an epoch, or says what is
// missing. Only what this process cannot continue without is an error.
func (r *round) advance(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if r.g.forgotten.Swap(false) {
		var err error
		if r.registered, err = r.g.registered(ctx); err != nil {
			return err
		}
	}
	if r.at != nil {
		return r.checkStream(ctx)
	}
	return r.examine(ctx)
}

// checkStream makes sure that the attested stream is still there.
func (r *round) checkStream(ctx context.Context) error {
	if time.Since(r.checked) < checkEvery {
		return nil
	}
	began := time.Now()
	r.checked = began
	s, err := r.js.Stream(ctx, r.at.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("the log's stream %s no longer exists", r.at.stream)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", r.at.stream, err)
	}
	if !s.CachedInfo().Created.Equal(r.at.created) {
		return fmt.Errorf("the log's stream %s was deleted and created again", r.at.stream)
	}
	if r.g.o.Archive != nil {
		if tail, err := r.g.o.Archive.Tail(ctx); err == nil { // while it is unavailable, nothing more is in it
			r.archived = max(r.archived, tail.Sequence)
		}
	}
	return r.trim(ctx)
}

// examine compares the log with the archive and with what every service applied.
func (r *round) examine(ctx context.Context) error {
	var tail archive.Record
	if r.g.o.Archive != nil {
		var err error
		if tail, err = r.g.o.Archive.Tail(ctx); err != nil {
			r.withhold(errors.Is(err, archive.ErrForeign), "%v", err)
			return nil
		}
	}
	if tail.Sequence < r.archived {
		return fmt.Errorf("the archive ended at %d before and ends at %d now", r.archived, tail.Sequence)
	}
	r.archived = tail.Sequence
	streams, err := streams(ctx, r.js)
	if err != nil {
		return err
	}
	newest, err := r.g.newest(ctx)
	if err != nil {
		return err
	}
	newest = max(newest, attest.Number(attest.Prefix+tail.Epoch))
	for _, p := range r.registered {
		newest = max(newest, p.epoch)
	}
	for _, s := range streams {
		newest = max(newest, s.number)
	}
	r.current = nil
	if n := len(streams); n > 0 {
		r.current = streams[n-1]
	}
	if r.current == nil && newest == 0 {
		// Nothing was ever recorded here.
		if err := r.create(ctx, attest.Stream(1), 0); err != nil {
			return err
		}
		r.examined = true
		return nil
	}
	if r.current != nil {
		if err := r.current.end(ctx, r.nc); err != nil {
			r.withhold(false, "%v", err)
			return nil
		}
	}
	older := r.older(newest)
	common := uint64(0)
	if r.current != nil {
		if common, err = r.common(ctx, tail); err != nil {
			r.withhold(errors.Is(err, archive.ErrMissing) || errors.Is(err, archive.ErrForeign), "%v", err)
			return nil
		}
		if first := r.current.first; older == "" && first > tail.Sequence+1 && r.g.o.Archive != nil {
			r.examined = true
			return r.restoreArchive(ctx, first-1)
		}
	}
	if older == "" && common < tail.Sequence {
		older = fmt.Sprintf("it continues the archive up to %d, and the archive ends at %d", common, tail.Sequence)
	}
	r.examined = true
	if older == "" {
		older, err = r.differs(ctx)
		if errors.Is(err, attest.ErrNoMessage) {
			r.withhold(true, "%v; the store of the log's server is damaged there, and the archive ends at %d: restore one of them from a backup",
				err, r.archived)
			return nil
		}
		if err != nil {
			return err
		}
	}
	if older == "" {
		if waiting := r.tailsWanted(); waiting != "" {
			r.withhold(false, "%s", waiting)
			return nil
		}
		if missing := r.missing(r.current.last); len(missing) > 0 && time.Since(r.began) < r.g.o.Wait {
			r.withhold(false, "waiting for %s", strings.Join(missing, ", "))
			return nil
		} else if len(missing) > 0 {
			r.g.o.Logger.Warn("the log is attested before all services have reported; the missing ones compare it themselves when they start", "missing", missing)
		}
		r.attest(r.current.name, r.current.created)
		return nil
	}
	return r.reopen(ctx, older, newest, common, tail)
}

// older says why the newest stream cannot be the log, as far as names tell.
func (r *round) older(newest int) string {
	switch {
	case r.current == nil:
		return "the log's server has no stream of the log"
	case r.current.number < newest:
		return fmt.Sprintf("the log's server has epoch %d, and epoch %d was already in use", r.current.number, newest)
	case r.current.retired:
		return fmt.Sprintf("epoch %d was closed, and the next one was never opened", r.current.number)
	case r.current.torn:
		return fmt.Sprintf("the log's server lost what followed event %d", r.current.last)
	}
	return ""
}

// differs says where the log is not what a service had applied.
func (r *round) differs(ctx context.Context) (string, error) {
	var last uint64
	for _, name := range slices.Sorted(maps.Keys(r.registered)) {
		p := r.registered[name]
		if p.sequence > r.current.last {
			return fmt.Sprintf("%s applied it up to %d, and it ends at %d", name, p.sequence, r.current.last), nil
		}
		if p.sequence == 0 || p.sequence < r.current.first {
			continue
		}
		digest, err := r.digest(ctx, p.sequence)
		if err != nil {
			return "", err
		}
		if !bytes.Equal(digest, p.digest) {
			return fmt.Sprintf("event %d is not the one that %s applied", p.sequence, name), nil
		}
	}
	from := uint64(0)
	for _, h := range r.heard {
		for _, a := range h.tail {
			if from == 0 || a.Sequence < from {
				from = a.Sequence
			}
			last = max(last, a.Sequence)
		}
	}
	if from = max(from, r.current.first); last == 0 || from > last {
		return "", nil
	}
	digests := map[uint64][]byte{}
	err := r.current.read(ctx, r.js, from, last, func(m message) error {
		digests[m.sequence] = digestOf(m.data)
		return nil
	})
	if err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(r.heard)) {
		for _, a := range r.heard[name].tail {
			if d := digests[a.Sequence]; d != nil && !bytes.Equal(d, a.Digest) {
				return fmt.Sprintf("event %d is not the one that %s applied", a.Sequence, name), nil
			}
		}
	}
	return "", nil
}

// digest is that of the event at a sequence of the log; of one that is damaged there, as
// the archive has it.
func (r *round) digest(ctx context.Context, sequence uint64) ([]byte, error) {
	m, err := r.current.get(ctx, r.nc, sequence)
	if !errors.Is(err, attest.ErrNoMessage) || sequence > r.archived {
		return digestOf(m.data), err
	}
	one, err := r.g.o.Archive.Get(ctx, sequence)
	return digestOf(one.Data), err
}

// tailsWanted says whose tail is not there yet.
func (r *round) tailsWanted() string {
	for _, name := range slices.Sorted(maps.Keys(r.heard)) {
		h := r.heard[name]
		if !h.runs && !h.tailDone && h.sequence > r.archived {
			return "reading what " + name + " applied beyond the archive"
		}
		h.tailDone = true // it applied nothing beyond
	}
	return ""
}

// common is up to where the newest stream and the archive are the same.
func (r *round) common(ctx context.Context, tail archive.Record) (uint64, error) {
	if tail.Sequence == 0 {
		return 0, nil
	}
	if tail.Sequence+1 < r.current.first {
		return tail.Sequence, nil
	}
	// What lies before a stream's first message was in the archive when it was
	// trimmed, or when the epoch began there.
	low, high := r.current.first-1, min(tail.Sequence, r.current.last)
	same := func(sequence uint64) (bool, error) {
		digest := tail.Digest
		if sequence != tail.Sequence {
			one, err := r.g.o.Archive.Get(ctx, sequence)
			if err != nil {
				return false, err
			}
			digest = one.Digest
		}
		m, err := r.current.get(ctx, r.nc, sequence)
		if errors.Is(err, attest.ErrNoMessage) {
			return true, nil // it is damaged there, and read from the archive
		}
		return archive.Digest(m.data) == digest, err
	}
	if high <= low {
		return min(low, tail.Sequence), nil
	}
	if ok, err := same(high); ok || err != nil {
		return high, err
	}
	for low+1 < high {
		middle := low + (high-low)/2
		ok, err := same(middle)
		if err != nil {
			return 0, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

func digestText(d []byte) string { return "sha256:" + hex.EncodeToString(d) }

package guardian

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

const (
	maxBatch      = 1000 // messages of an atomic batch; the server allows no more
	maxBatchBytes = 4 << 20
	maxRanges     = 5 // named in an alarm
)

// reopen opens the next epoch: behind what log and archive have in common comes the
// rest of the archive, then what was applied or stood in the log beyond it.
func (r *round) reopen(ctx context.Context, reason string, newest int, common uint64, tail archive.Record) error {
	known := tail.Sequence
	continues := r.current != nil && r.current.number == newest && common == tail.Sequence
	if continues {
		known = max(known, r.current.last)
	}
	if runs := r.running(); len(runs) > 0 {
		r.withhold(true, "%s, but %s already continued with it under an earlier attestation of the same server: "+
			"restart the log's server", reason, strings.Join(runs, ", "))
		return nil
	}
	if missing := r.missing(known); len(missing) > 0 {
		r.withhold(false, "%s; every service that applied the log must report before the log can be repaired: start %s; "+
			"to remove a service that will not start again, send audit DELETE /v1/log/services/SERVICE", reason, strings.Join(missing, ", "))
		return nil
	}
	if waiting := r.tailsWanted(); waiting != "" {
		r.withhold(false, "%s; %s", reason, waiting)
		return nil
	}
	end := known
	for _, p := range r.registered {
		end = max(end, p.sequence)
	}
	entries, err := r.order(ctx, tail.Sequence, end, continues)
	if err != nil {
		return err
	}
	if entries == nil || !r.complete(reason, entries, tail.Sequence) {
		return nil // reported before
	}
	r.g.o.Logger.Error("the log's next epoch is opened", "reason", reason, "epoch", newest+1, "begins", common+1, "archived", tail.Sequence, "restored", end)
	if s := r.current; s != nil && !s.retired {
		if err := r.retire(ctx, s); err != nil {
			return err
		}
	}
	name := attest.Stream(newest + 1)
	if err := r.create(ctx, name, common); err != nil {
		return err
	}
	out := &appender{r: r, stream: name, last: common}
	if common < tail.Sequence {
		err := r.g.o.Archive.Read(ctx, common+1, tail.Sequence, func(batch []archive.Record) error {
			for _, one := range batch {
				if err := out.add(ctx, one.Sequence, one.Data); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i, e := range entries {
		if err := out.add(ctx, tail.Sequence+1+uint64(i), e.data); err != nil {
			return err
		}
	}
	if err := out.flush(ctx); err != nil {
		return err
	}
	return r.g.opened(ctx, Opened{Epoch: newest + 1, Begins: common + 1, Archived: tail.Sequence, Restored: end, Reason: reason})
	// The next checkStream finds it whole, and attests it.
}

func (r *round) running() []string {
	var out []string
	for name, h := range r.heard {
		if h.runs {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// order says what belongs at every sequence after one and up to another; nil where
// that cannot be told, which is an alarm.
func (r *round) order(ctx context.Context, after, end uint64, continues bool) ([]entry, error) {
	entries := make([]entry, end-after)
	if continues {
		err := r.current.read(ctx, r.js, after+1, end, func(m message) error {
			entries[m.sequence-after-1] = entry{digest: digestOf(m.data), data: bytes.Clone(m.data), by: "the log"}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.heard)) {
		for _, a := range r.heard[name].tail {
			if a.Sequence <= after || a.Sequence > end {
				continue
			}
			e := &entries[a.Sequence-after-1]
			if e.digest == nil {
				*e = entry{origin: origin{a.Source, a.SourceSequence}, digest: a.Digest, by: name}
			} else if !bytes.Equal(e.digest, a.Digest) {
				r.withhold(true, "event %d differs: %s has %s and %s applied %s. The log has two histories: restore all servers and services "+
					"from one backup (freshet backups restore)", a.Sequence, e.by, digestText(e.digest), name, digestText(a.Digest))
				return nil, nil
			}
		}
	}
	unknown := ranges(entries, after, func(e entry) bool { return e.digest == nil })
	if len(unknown) == 0 {
		return entries, nil
	}
	index, err := r.g.indexed(ctx, unknown[0].from, unknown[len(unknown)-1].to)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if e, ok := index[after+1+uint64(i)]; ok && entries[i].digest == nil {
			entries[i] = e
		}
	}
	unknown = ranges(entries, after, func(e entry) bool { return e.digest == nil && e.id == "" })
	if len(unknown) > 0 {
		r.withhold(true, "the events at %s of the log are unknown: neither the log, the archive, a service nor audit's index has them: "+
			"restore a backup (freshet backups restore)", text(unknown))
		return nil, nil
	}
	return entries, nil
}

// complete fills in the bytes that owners gave, and asks for the rest.
func (r *round) complete(reason string, entries []entry, after uint64) bool {
	r.wanted = nil
	waiting := map[string]int{}
	var gone []span
	for i := range entries {
		e := &entries[i]
		sequence := after + 1 + uint64(i)
		if e.data != nil {
			continue
		}
		data := r.found[e.origin]
		if data != nil && e.is(data) {
			e.data = data
			continue
		}
		if data != nil {
			r.withhold(true, "%s; event %d of %s belongs at %d of the log, and the outbox has another event under its number: restore all servers "+
				"and services from one backup (freshet backups restore)", reason, e.sequence, e.source, sequence)
			return false
		}
		if r.lacking[e.origin] {
			gone = extend(gone, sequence)
			continue
		}
		r.wanted = append(r.wanted, e.origin)
		waiting[strings.TrimPrefix(e.source, sourcePrefix)]++
	}
	if len(gone) > 0 {
		first := entries[gone[0].from-after-1]
		r.withhold(true, "%s; no outbox has the events at %s of the log (the first is event %d of %s, according to %s): restore its PostgreSQL, "+
			"or the log's server, from a copy that has them",
			reason, text(gone), first.sequence, first.source, first.by)
		return false
	}
	if len(r.wanted) == 0 {
		return true
	}
	var from []string
	for _, service := range slices.Sorted(maps.Keys(waiting)) {
		if h := r.heard[service]; h == nil || h.runs {
			service += " (start it)"
		}
		from = append(from, service)
	}
	r.withhold(false, "%s; %d events are fetched from the outbox of %s", reason, len(r.wanted), strings.Join(from, ", "))
	return false
}

// is says whether bytes are the entry's event.
func (e *entry) is(data []byte) bool {
	if e.digest != nil {
		return bytes.Equal(digestOf(data), e.digest)
	}
	var head struct {
		ID string `json:"id"`
	}
	return json.Unmarshal(data, &head) == nil && head.ID == e.id
}

// restoreArchive puts events into the archive that it lost and that the log no
// longer has: their order is in tails and in audit's index, their bytes with their
// owners.
func (r *round) restoreArchive(ctx context.Context, through uint64) error {
	reason := fmt.Sprintf("the archive ends at %d and the log begins at %d", r.archived, through+1)
	if waiting := r.tailsWanted(); waiting != "" {
		r.withhold(false, "%s; %s", reason, waiting)
		return nil
	}
	entries, err := r.order(ctx, r.archived, through, false)
	if err != nil {
		return err
	}
	if entries == nil || !r.complete(reason, entries, r.archived) {
		return nil
	}
	r.g.o.Logger.Error("the archive is restored from what services have", "reason", reason)
	records := make([]kafka.Record, 0, len(entries))
	for i, e := range entries {
		records = append(records, archive.NewRecord(r.current.name, r.archived+1+uint64(i), "", e.data, time.Time{}))
	}
	return r.g.o.Restore(ctx, records)
}

// A span of sequences.
type span struct{ from, to uint64 }

func extend(spans []span, sequence uint64) []span {
	if n := len(spans); n > 0 && spans[n-1].to+1 == sequence {
		spans[n-1].to = sequence
		return spans
	}
	return append(spans, span{sequence, sequence})
}

func ranges(entries []entry, after uint64, pick func(entry) bool) []span {
	var out []span
	for i, e := range entries {
		if pick(e) {
			out = extend(out, after+1+uint64(i))
		}
	}
	return out
}

func text(spans []span) string {
	var out []string
	for i, s := range spans {
		if i == maxRanges {
			out = append(out, fmt.Sprintf("and %d more ranges up to %d", len(spans)-i, spans[len(spans)-1].to))
			break
		}
		if s.from == s.to {
			out = append(out, strconv.FormatUint(s.from, 10))
		} else {
			out = append(out, fmt.Sprintf("%d to %d", s.from, s.to))
		}
	}
	return strings.Join(out, ", ")
}

// An appender puts events at their old sequences: a batch is stored as a whole, and
// only behind the sequence before it.
type appender struct {
	r      *round
	stream string
	last   uint64 // stored
	batch  []*nats.Msg
	size   int
}

func (a *appender) add(ctx context.Context, sequence uint64, data []byte) error {
	if want := a.last + uint64(len(a.batch)) + 1; sequence != want {
		return fmt.Errorf("stream %s needs event %d next, and got %d", a.stream, want, sequence)
	}
	e, err := a.r.g.o.Codec.Decode(data)
	if err != nil {
		return fmt.Errorf("event %d of the log: %w", sequence, err)
	}
	m, err := eventlog.Message(e, data)
	if err != nil {
		return fmt.Errorf("event %d of the log: %w", sequence, err)
	}
	a.batch, a.size = append(a.batch, m), a.size+len(data)
	if len(a.batch) < maxBatch && a.size < maxBatchBytes {
		return nil
	}
	return a.flush(ctx)
}

func (a *appender) flush(ctx context.Context) error {
	if len(a.batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	n := len(a.batch)
	id := nuid.Next()
	for i, m := range a.batch {
		if i == 0 {
			m.Header.Set("Nats-Expected-Stream", a.stream)
			m.Header.Set("Nats-Expected-Last-Sequence", strconv.FormatUint(a.last, 10))
		}
		if n > 1 {
			m.Header["Nats-Batch-Id"] = []string{id}
			m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		}
		if i < n-1 {
			if err := a.r.nc.PublishMsg(m); err != nil {
				return fmt.Errorf("filling %s: %w", a.stream, err)
			}
			continue
		}
		if n > 1 {
			m.Header["Nats-Batch-Commit"] = []string{"1"}
		}
		reply, err := a.r.nc.RequestMsgWithContext(ctx, m)
		if err != nil {
			return fmt.Errorf("filling %s: %w", a.stream, err)
		}
		var ack struct {
			Stream string `json:"stream"`
			Seq    uint64 `json:"seq"`
			Error  *struct {
				Description string `json:"description"`
			} `json:"error"`
		}
		if err := json.Unmarshal(reply.Data, &ack); err != nil {
			return fmt.Errorf("filling %s: %w", a.stream, err)
		}
		if ack.Error != nil || ack.Stream != a.stream || ack.Seq != a.last+uint64(n) {
			return fmt.Errorf("filling %s after %d: unexpected acknowledgement %q", a.stream, a.last, reply.Data)
		}
	}
	a.last += uint64(n)
	a.batch, a.size = nil, 0
	return nil
}

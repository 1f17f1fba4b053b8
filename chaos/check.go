package chaos

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
)

// Topics whose records clients or services were promised.
const (
	pushTopic      = "freshet.features"
	inferenceTopic = "freshet.inference"
)

// A checker holds what the suite has against what it promises. It continues from
// where it was: what it has seen once must not change, which the last check, from
// the beginning, shows.
type checker struct {
	next     uint64              // of the log
	last     map[string]uint64   // sequence of each source
	ids      map[string]uint64   // event → its place in the log
	origins  map[string]string   // outside event → data_arrived
	roots    map[string]string   // data_checked → data_arrived
	ended    map[string]string   // data_arrived → how it ended
	refused  map[string]string   // data_arrived → why
	offset   int64               // of the archive
	pushed   int64               // offset of the topic of pushed rows
	answered int64               // offset of the topic of inference records
	answers  map[string]bool     // inference records by their id
	copied   uint64              // last sequence of the log in the archive
	repeats  bool                // the archive may repeat records now: Kafka's answers were lost, or two processes wrote
	repeated int                 // records of the archive that its readers drop
	digests  map[uint64][32]byte // of the log
	pending  map[uint64]message  // of the log, not yet seen in the archive
	counts   map[string]int      // events by type
}

func newChecker() *checker {
	return &checker{next: 1, last: map[string]uint64{}, ids: map[string]uint64{}, origins: map[string]string{}, roots: map[string]string{},
		ended: map[string]string{}, refused: map[string]string{}, pending: map[uint64]message{}, counts: map[string]int{}, digests: map[uint64][32]byte{},
		answers: map[string]bool{}}
}

// check compares everything that was recorded since the last time.
func (c *checker) check(ctx context.Context, s *Suite, l *Ledger, f *Findings) error {
	messages, err := readLog(ctx, s, c.next)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	before := maps.Clone(c.last)
	c.log(messages, f)
	for _, service := range s.o.Services {
		rows, counter, err := readOutbox(ctx, s.db, service, before[service])
		if err != nil {
			return fmt.Errorf("reading the outbox of %s: %w", service, err)
		}
		compareOutbox(service, before[service], rows, counter, messages, f)
	}
	records, err := readTopic(ctx, s.kafka, archive.Topic, &c.offset)
	if err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	c.archive(records, f)
	c.ledger(l, f)
	if records, err = readTopic(ctx, s.kafka, pushTopic, &c.pushed); err != nil {
		return fmt.Errorf("reading the pushed rows: %w", err)
	}
	pushes(records, l, f)
	if records, err = readTopic(ctx, s.kafka, inferenceTopic, &c.answered); err != nil {
		return fmt.Errorf("reading the inference records: %w", err)
	}
	counted, err := readCount(ctx, s.db)
	if err != nil {
		return fmt.Errorf("reading what monitoring counted: %w", err)
	}
	c.inference(records, counted, f)
	return c.tables(ctx, s, f)
}

// log checks that sources are numbered without a gap, that no event is there
// twice, and that none comes before its cause.
func (c *checker) log(messages []message, f *Findings) {
	for _, m := range messages {
		if m.stream != c.next {
			f.lost("the log goes from %d to %d", c.next-1, m.stream)
		}
		c.next = m.stream + 1
		c.pending[m.stream], c.digests[m.stream] = m, sha256.Sum256(m.data)
		last := c.last[m.service]
		switch {
		case m.sequence > last+1:
			f.lost("%s goes from %d to %d at %d of the log", m.service, last, m.sequence, m.stream)
		case m.sequence <= last:
			f.doubled("%s goes from %d to %d at %d of the log", m.service, last, m.sequence, m.stream)
		}
		c.last[m.service] = max(last, m.sequence)
		var e envelope
		if err := json.Unmarshal(m.data, &e); err != nil {
			f.diverged("message %d of the log is no event: %v", m.stream, err)
			continue
		}
		if at, twice := c.ids[e.ID]; twice {
			f.doubled("the event %s (%s) is at %d and at %d of the log", e.ID, e.Type, at, m.stream)
		}
		c.ids[e.ID] = m.stream
		if e.CausationID != "" && c.ids[e.CausationID] == 0 {
			f.reordered("the event %s (%s) at %d of the log comes before its cause %s", e.ID, e.Type, m.stream, e.CausationID)
		}
		c.follow(e, f)
	}
}

// follow notes what became of arrivals and approvals.
func (c *checker) follow(e envelope, f *Findings) {
	name := e.Type[strings.LastIndex(e.Type, ".")+1:]
	c.counts[name]++
	switch name {
	case "data_arrived":
		var p struct {
			Origin struct{ ID string } `json:"origin"`
		}
		if err := json.Unmarshal(e.Data, &p); err != nil {
			f.diverged("%s: %v", e.ID, err)
		}
		if first, twice := c.origins[p.Origin.ID]; twice {
			f.doubled("the arrival %s was recorded as %s and as %s", p.Origin.ID, first, e.ID)
		}
		c.origins[p.Origin.ID] = e.ID
	case "data_checked":
		c.roots[e.ID] = e.CausationID
	case "data_committed", "data_rejected":
		arrived, ok := c.roots[e.CausationID]
		if !ok {
			arrived = e.CausationID
		}
		if how, twice := c.ended[arrived]; twice {
			f.doubled("the arrival %s ended as %s and as %s", arrived, how, name)
		}
		c.ended[arrived] = name
		if name == "data_rejected" {
			c.refused[arrived] = string(e.Data)
		}
	case "event_parked":
		f.diverged("%s was parked: %s", e.CausationID, e.Data)
	}
}

// ledger looks for what clients were told was taken.
func (c *checker) ledger(l *Ledger, f *Findings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(l.arrivals)) {
		arrived, ok := c.origins[id]
		switch {
		case !ok:
			f.lost("the arrival %s was acknowledged by %s and is not in the log", id, l.arrivals[id])
		case c.ended[arrived] == "":
			f.lost("the arrival %s (%s) was neither committed nor rejected", id, arrived)
		case c.refused[arrived] != "":
			f.lost("the arrival %s (%s) was rejected, and there is nothing wrong with it: %s", id, arrived, c.refused[arrived])
			delete(c.refused, arrived)
		}
		if ok {
			// Looked at once; the log does not change behind the checker.
			delete(l.arrivals, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.approvals)) {
		if c.ids[id] == 0 {
			f.lost("the approval of %s was acknowledged as %s and is not in the log", l.approvals[id], id)
		} else {
			delete(l.approvals, id)
		}
	}
}

// compareOutbox holds a service's outbox against its events in the log.
func compareOutbox(service string, above uint64, rows []outboxRow, counter uint64, messages []message, f *Findings) {
	own := map[uint64][]byte{}
	last := above
	for _, m := range messages {
		if m.service == service && own[m.sequence] == nil {
			own[m.sequence] = m.data
			last = max(last, m.sequence)
		}
	}
	next := above + 1
	for _, row := range rows {
		if row.sequence != next {
			f.lost("the outbox of %s goes from %d to %d", service, next-1, row.sequence)
		}
		next = row.sequence + 1
		data, ok := own[row.sequence]
		switch {
		case !ok:
			f.lost("event %d of %s is in its outbox and not in the log", row.sequence, service)
		case !bytes.Equal(data, row.event):
			f.diverged("event %d of %s is in the log as %s and in its outbox as %s", row.sequence, service, data, row.event)
		}
		delete(own, row.sequence)
	}
	for _, sequence := range slices.Sorted(maps.Keys(own)) {
		f.lost("event %d of %s is in the log and not in its outbox", sequence, service)
	}
	if counter != last {
		f.diverged("%s counted %d events, and the log has %d", service, counter, last)
	}
}

// archive holds the archive's next records against the log. A broker whose answer
// was lost, and a process that was stopped while it wrote, may leave records twice:
// readers drop what is not above the last one they took, and so does this one, where
// such a thing did happen and the bytes are the log's.
func (c *checker) archive(records []kafka.Record, f *Findings) {
	for _, r := range records {
		sequence := archived(r)
		m, ok := c.pending[sequence]
		switch {
		case sequence <= c.copied && c.repeats && sha256.Sum256(r.Value) == c.digests[sequence]:
			c.repeated++
			continue
		case sequence <= c.copied:
			f.doubled("the archive has %d of the log again, at offset %d", sequence, r.Offset)
			continue
		case sequence != c.copied+1:
			f.reordered("the archive goes from %d to %d of the log, at offset %d", c.copied, sequence, r.Offset)
		}
		c.copied = max(c.copied, sequence)
		switch {
		case !ok:
			f.diverged("the archive has %d of the log, which has it not", sequence)
		case !bytes.Equal(m.data, r.Value):
			f.diverged("the archive has %d of the log with other bytes", sequence)
		}
		delete(c.pending, sequence)
	}
	for _, sequence := range slices.Sorted(maps.Keys(c.pending)) {
		f.lost("the archive lacks %d of the log", sequence)
		delete(c.pending, sequence)
	}
}

// tables looks for what must not be left in the services' tables once settled.
func (c *checker) tables(ctx context.Context, s *Suite, f *Findings) error {
	for _, service := range s.o.Services {
		schema := schemaOf(service)
		var parked, effects int64
		var position uint64
		// A position that nothing depends on is saved a moment later.
		deadline := time.Now().Add(5 * time.Second)
		for {
			err := s.db.QueryRow(ctx, fmt.Sprintf(`SELECT (SELECT count(*) FROM %[1]s.fold_parked), (SELECT count(*) FROM %[1]s.fold_effects),
				(SELECT sequence FROM %[1]s.fold_position)`, schema)).Scan(&parked, &effects, &position)
			if err != nil {
				return fmt.Errorf("reading the tables of %s: %w", service, err)
			}
			if position == c.next-1 || time.Now().After(deadline) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if parked > 0 {
			f.diverged("%s has %d parked events", service, parked)
		}
		if effects > 0 {
			f.diverged("%s has %d open effects", service, effects)
		}
		if position != c.next-1 {
			f.diverged("%s has applied the log up to %d, and it ends at %d", service, position, c.next-1)
		}
	}
	return nil
}

// pushes looks for the rows that the feature store acknowledged.
func pushes(records []kafka.Record, l *Ledger, f *Findings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.pushes {
		if !slices.ContainsFunc(records, func(r kafka.Record) bool { return bytes.Contains(r.Value, []byte(strconv.Quote(id))) }) {
			f.lost("the rows from %s on were acknowledged and are not in %s", id, pushTopic)
		}
	}
	clear(l.pushes) // looked at once, as the topic is
}

// inference checks that every inference record was counted once.
func (c *checker) inference(records []kafka.Record, n count, f *Findings) {
	for _, r := range records {
		c.answers[string(r.Key)+" "+string(header(r, "ce_id"))] = true
	}
	if n.next != c.answered {
		f.diverged("monitoring has read %s up to %d, and it ends at %d", inferenceTopic, n.next, c.answered)
	}
	if n.refused > 0 {
		f.diverged("monitoring has refused %d inference records", n.refused)
	}
	if n.counted < len(c.answers) {
		f.lost("monitoring counted %d inference records of %d", n.counted, len(c.answers))
	}
	if n.counted > len(c.answers) {
		f.doubled("monitoring counted %d inference records of %d", n.counted, len(c.answers))
	}
}

package chaos

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// Topics whose records clients or services were promised.
const (
	pushTopic      = "freshet.features"
	inferenceTopic = "freshet.inference"
)

// Findings are what is not as it must be.
type Findings struct {
	Lost, Doubled, Reordered, Diverged []string
}

func (f *Findings) lost(format string, args ...any) {
	f.Lost = append(f.Lost, fmt.Sprintf(format, args...))
}
func (f *Findings) doubled(format string, args ...any) {
	f.Doubled = append(f.Doubled, fmt.Sprintf(format, args...))
}
func (f *Findings) reordered(format string, args ...any) {
	f.Reordered = append(f.Reordered, fmt.Sprintf(format, args...))
}
func (f *Findings) diverged(format string, args ...any) {
	f.Diverged = append(f.Diverged, fmt.Sprintf(format, args...))
}

// Add adds what another part of a run found.
func (f *Findings) Add(other *Findings) {
	f.Lost, f.Doubled = append(f.Lost, other.Lost...), append(f.Doubled, other.Doubled...)
	f.Reordered, f.Diverged = append(f.Reordered, other.Reordered...), append(f.Diverged, other.Diverged...)
}

// None says whether all is well.
func (f *Findings) None() bool {
	return len(f.Lost)+len(f.Doubled)+len(f.Reordered)+len(f.Diverged) == 0
}

// String is the line that a run ends with.
func (f *Findings) String() string {
	return fmt.Sprintf("lost %d, doubled %d, reordered %d, diverged %d", len(f.Lost), len(f.Doubled), len(f.Reordered), len(f.Diverged))
}

// A message is one event as the log has it.
type message struct {
	stream   uint64
	service  string
	sequence uint64 // of its source
	data     []byte
}

// envelope is what the checker reads of an event.
type envelope struct {
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Source      string          `json:"source"`
	Sequence    string          `json:"sequence"`
	CausationID string          `json:"causationid"`
	Data        json.RawMessage `json:"data"`
}

// A checker holds what the suite has against what it promises. It goes on from
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
		ended: map[string]string{}, refused: map[string]string{}, pending: map[uint64]message{}, counts: map[string]int{}, digests: map[uint64][32]byte{}, answers: map[string]bool{}}
}

// check compares everything that was recorded since the last time.
func (c *checker) check(ctx context.Context, s *Suite, l *Ledger, f *Findings) error {
	messages, err := readLog(ctx, s, c.next)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	before := maps.Clone(c.last)
	c.log(messages, f)
	for _, service := range Services {
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
	for _, service := range Services {
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

// A count is what monitoring made of the inference records.
type count struct {
	next             int64 // offset of the topic
	counted, refused int
}

func readCount(ctx context.Context, db querier) (n count, err error) {
	err = db.QueryRow(ctx, `SELECT coalesce((SELECT next FROM monitoring_data.consumed WHERE topic = $1 AND partition = 0), 0),
		(SELECT count(*) FROM monitoring_data.records), (SELECT count(*) FROM monitoring_data.refused_records)`, inferenceTopic).Scan(&n.next, &n.counted, &n.refused)
	return n, err
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

func schemaOf(service string) string { return strings.ReplaceAll(service, "-", "_") }

// readLog reads the log from a place on to its end. What lies before the first
// event of its epoch is the archive's to tell.
func readLog(ctx context.Context, s *Suite, from uint64) ([]message, error) {
	name, err := epoch.Current(ctx, s.js)
	if err != nil {
		return nil, err
	}
	stream, err := s.js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	var all []message
	if from < state.FirstSeq {
		if all, err = readArchived(ctx, s, from, state.FirstSeq); err != nil {
			return nil, err
		}
		from = state.FirstSeq
	}
	if from > state.LastSeq {
		return all, nil
	}
	c, err := stream.OrderedConsumer(ctx, epoch.ReadFrom(from))
	if err != nil {
		return nil, err
	}
	reading, err := c.Messages()
	if err != nil {
		return nil, err
	}
	defer reading.Stop()
	for {
		m, err := reading.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		one, err := newMessage(meta.Sequence.Stream, m.Data())
		if err != nil {
			return nil, err
		}
		all = append(all, one)
		if meta.Sequence.Stream >= state.LastSeq {
			return all, nil
		}
	}
}

func newMessage(stream uint64, data []byte) (message, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return message{}, fmt.Errorf("message %d: %w", stream, err)
	}
	sequence, err := strconv.ParseUint(e.Sequence, 10, 64)
	if err != nil {
		return message{}, fmt.Errorf("message %d: its sequence: %w", stream, err)
	}
	return message{stream, strings.TrimPrefix(e.Source, "/freshet/"), sequence, data}, nil
}

func readArchived(ctx context.Context, s *Suite, from, to uint64) (all []message, err error) {
	var offset int64
	records, err := readTopic(ctx, s.kafka, archive.Topic, &offset)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if sequence := archived(r); sequence == from && sequence < to {
			m, err := newMessage(sequence, r.Value)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
			from++
		}
	}
	return all, nil
}

// archived is which message of the log a record of the archive is.
func archived(r kafka.Record) uint64 {
	n, err := strconv.ParseUint(string(header(r, archive.HeaderSequence)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func header(r kafka.Record, name string) []byte {
	for _, h := range r.Headers {
		if h.Key == name {
			return h.Value
		}
	}
	return nil
}

type outboxRow struct {
	sequence uint64
	event    []byte
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func readOutbox(ctx context.Context, db querier, service string, above uint64) (all []outboxRow, counter uint64, err error) {
	io := schemaOf(service) + "_io"
	if err := db.QueryRow(ctx, "SELECT sequence FROM "+io+".counter").Scan(&counter); err != nil {
		return nil, 0, err
	}
	rows, err := db.Query(ctx, "SELECT sequence, event FROM "+io+".outbox WHERE sequence > $1 ORDER BY sequence", int64(above)) //nolint:gosec // a sequence
	if err != nil {
		return nil, 0, err
	}
	all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r outboxRow, err error) {
		err = row.Scan(&r.sequence, &r.event)
		return r, err
	})
	return all, counter, err
}

// readTopic reads a topic from an offset on to its end, and moves the offset. A
// connection from before a broker's death is noticed when it is used: then it is read
// again.
func readTopic(ctx context.Context, client *kafka.Client, topic string, offset *int64) (all []kafka.Record, err error) {
	from := *offset
	err = retry(ctx, func() error {
		_, end, err := client.Bounds(ctx, topic)
		if err != nil {
			return err
		}
		for all, *offset = nil, from; *offset < end[0]; {
			records, to, err := client.Fetch(ctx, topic, 0, *offset, time.Second)
			if err != nil {
				return err
			}
			if to <= *offset {
				return errors.New("the broker answers with nothing before the topic's end")
			}
			all, *offset = append(all, records...), to
		}
		return nil
	})
	return all, err
}

// patience is how long the harness tries again what needs a server that was hurt.
const patience = 15 * time.Second

func retry(ctx context.Context, fn func() error) error {
	for began := time.Now(); ; {
		err := fn()
		if err == nil || time.Since(began) > patience || ctx.Err() != nil {
			return err
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

package online

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/wire"
	"github.com/google/uuid"
)

// Topic is where pushed rows are kept.
const Topic = "freshet.features"

// RowsType is the CloudEvents type of a batch of pushed rows.
const RowsType = "io.freshet.features.v1.rows"

// ErrUnknownDataset: rows were pushed for a dataset that nobody declared.
var ErrUnknownDataset = errors.New("there is no such dataset")

type datasetID struct{ namespace, dataset string }

// pushed are rows as they came, kept for views that are declared later.
type pushed struct {
	table  *parquet.Table
	newest int64
}

// A sender of this process waits until its rows are seen. Its table saves reading
// the record's JSON once more.
type sender struct {
	table *parquet.Table
	seen  chan error
}

// pushes evaluates what the topic carries and enters it.
type pushes struct {
	store  *Store
	engine *duckdb.Engine
	idle   time.Duration
	next   atomic.Int64 // offset

	mu      sync.Mutex // also around a change of the catalogue
	session *duckdb.Session
	timer   *time.Timer
	recent  map[datasetID][]pushed

	waiting sync.Map // id of an event → *sender
}

func newPushes(s *Store, engine *duckdb.Engine, idle time.Duration) *pushes {
	return &pushes{store: s, engine: engine, idle: idle, recent: map[datasetID][]pushed{}}
}

func (p *pushes) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.release()
}

func (p *pushes) release() error {
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.session == nil {
		return nil
	}
	s := p.session
	p.session = nil
	return s.Close()
}

func (p *pushes) open(ctx context.Context) (*duckdb.Session, error) {
	if p.session != nil {
		p.timer.Reset(p.idle)
		return p.session, nil
	}
	s, err := p.engine.Session(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Seal(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	p.session = s
	p.timer = time.AfterFunc(p.idle, func() { _ = p.close() })
	return s, nil
}

// enter evaluates rows for views of their dataset and enters them.
func (p *pushes) enter(ctx context.Context, c *Catalog, id datasetID, t *parquet.Table, views []*compute.View) error {
	if len(views) == 0 || t.Rows == 0 {
		return nil
	}
	s, err := p.open(ctx)
	if err != nil {
		return err
	}
	if err := s.Load(ctx, compute.Input, t); err != nil {
		return err
	}
	for _, v := range views {
		rows := p.store.viewRows(viewID{id.namespace, v.Name, v.Version})
		if rows == nil {
			continue
		}
		computed, err := compute.Rows(ctx, s, v, c.Dataset(id.namespace, id.dataset))
		if duckdb.UsersFault(err) { // one view's fault is no reason to lack the others
			p.store.logger.Error("pushed rows do not fit a view", "view", v.Name, "version", v.Version, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		if err := rows.add(computed, pushedRank); err != nil {
			return err
		}
	}
	return nil
}

func (p *pushes) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent = map[datasetID][]pushed{}
}

// fill enters what was pushed before a view was declared. The caller holds mu.
func (p *pushes) fill(ctx context.Context, c *Catalog, view viewID) error {
	v, _ := c.View(view.namespace, view.view, view.version)
	if v == nil {
		return nil
	}
	id := datasetID{view.namespace, v.Spec.Dataset}
	for _, b := range p.recent[id] {
		if err := p.enter(ctx, c, id, b.table, []*compute.View{v}); err != nil {
			return err
		}
	}
	return nil
}

// Consume enters pushed rows from the topic until the context ends. Only rows that
// some window can still see are read again after a restart.
func (s *Store) Consume(ctx context.Context) error {
	select {
	case <-s.filled:
	case <-ctx.Done():
		return nil
	}
	if err := s.kafka.Ensure(ctx, Topic, 1); err != nil {
		return err
	}
	from, err := s.resume(ctx)
	if err != nil {
		return err
	}
	s.pushes.next.Store(from)
	s.pushes.forget() // what is read again would be kept twice
	return s.kafka.Consume(ctx, Topic, map[int]int64{0: from}, s.pushes.apply)
}

func (s *Store) resume(ctx context.Context) (int64, error) {
	first, end, err := s.kafka.Bounds(ctx, Topic)
	if err != nil {
		return 0, err
	}
	var from *int64
	err = s.pool.QueryRow(ctx, `SELECT coalesce((SELECT min(first_offset) FROM pushes WHERE newest > $1), (SELECT max(next_offset) FROM pushes))`,
		s.clock.Now().Add(-s.reach(s.Catalog()))).Scan(&from)
	if err != nil {
		return 0, err
	}
	if from == nil {
		return first[0], nil
	}
	return min(max(*from, first[0]), end[0]), nil
}

// reach is how far back the longest window sees, with slack.
func (s *Store) reach(c *Catalog) time.Duration {
	longest := time.Duration(0)
	for _, sp := range c.spaces {
		for _, versions := range sp.views {
			for _, v := range versions {
				if v.Plan != nil {
					longest = max(longest, v.Retention())
				}
			}
		}
	}
	return longest + Slack
}

// Lag is how many records of the topic wait.
func (s *Store) Lag(ctx context.Context) (int64, error) {
	_, end, err := s.kafka.Bounds(ctx, Topic)
	if err != nil {
		return 0, err
	}
	return max(0, end[0]-s.pushes.next.Load()), nil
}

type batch struct {
	id    datasetID
	table *parquet.Table
	who   []string // ids of the events in it
}

// apply enters records and then says so to who waits for them. A record that
// cannot be understood is skipped, with an error to its sender.
func (p *pushes) apply(ctx context.Context, records []kafka.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.store.Catalog()
	var batches []*batch
	newest := int64(math.MinInt64)
	for _, r := range records {
		id, who, t, err := p.decode(c, r)
		if err != nil {
			p.store.logger.Warn("a record of pushed rows was skipped", "offset", r.Offset, "error", err)
			p.answer(who, err)
			continue
		}
		newest = max(newest, newestOf(t, c.Dataset(id.namespace, id.dataset).Time))
		if n := len(batches); n > 0 && batches[n-1].id == id && batches[n-1].table.Append(t) == nil {
			batches[n-1].who = append(batches[n-1].who, who)
			continue
		}
		batches = append(batches, &batch{id, t, []string{who}})
	}
	oldest := p.store.clock.Now().Add(-p.store.reach(c)).UnixMicro()
	for _, b := range batches {
		if err := p.enter(ctx, c, b.id, b.table, c.onDataset(b.id.namespace, b.id.dataset)); err != nil {
			return err
		}
		kept := slices.DeleteFunc(p.recent[b.id], func(o pushed) bool { return o.newest <= oldest })
		p.recent[b.id] = append(kept, pushed{b.table, newestOf(b.table, c.Dataset(b.id.namespace, b.id.dataset).Time)})
	}
	last := records[len(records)-1].Offset + 1
	if newest == math.MinInt64 {
		newest = 0
	}
	// A row of the far future would have all that follows it read again, for ever.
	newest = min(newest, p.store.clock.Now().Add(Slack).UnixMicro())
	if _, err := p.store.pool.Exec(ctx, `INSERT INTO pushes (first_offset, next_offset, newest) VALUES ($1, $2, $3) ON CONFLICT (first_offset) DO UPDATE
		SET next_offset = greatest(pushes.next_offset, excluded.next_offset), newest = greatest(pushes.newest, excluded.newest)`,
		records[0].Offset, last, time.UnixMicro(newest).UTC()); err != nil {
		return err
	}
	// What no window sees is not read again. The last one says where to continue.
	if _, err := p.store.pool.Exec(ctx, `DELETE FROM pushes WHERE newest <= $1 AND next_offset < $2`, time.UnixMicro(oldest).UTC(), last); err != nil {
		return err
	}
	p.next.Store(last)
	for _, b := range batches {
		for _, who := range b.who {
			p.answer(who, nil)
		}
	}
	return nil
}

func newestOf(t *parquet.Table, column string) int64 {
	newest := int64(math.MinInt64)
	if c := t.Column(column); c != nil && c.Kind == parquet.Time {
		for _, at := range c.Times {
			newest = max(newest, at)
		}
	}
	return newest
}

func (p *pushes) decode(c *Catalog, r kafka.Record) (id datasetID, who string, t *parquet.Table, err error) {
	headers := make(map[string]string, len(r.Headers))
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	e, err := events.DecodeKafka(r.Key, r.Value, headers)
	if err != nil {
		return id, "", nil, err
	}
	if e.Type() != RowsType {
		return id, e.ID(), nil, fmt.Errorf("it has type %s, not %s", e.Type(), RowsType)
	}
	if w, ok := p.waiting.Load(e.ID()); ok && c.Dataset(namespaceOf(r), e.Subject()) != nil {
		return datasetID{namespaceOf(r), e.Subject()}, e.ID(), w.(*sender).table, nil
	}
	var push wire.Push
	if err := json.Unmarshal(e.Data(), &push); err != nil {
		return id, e.ID(), nil, err
	}
	id = datasetID{namespaceOf(r), push.Dataset}
	spec := c.Dataset(id.namespace, id.dataset)
	if spec == nil {
		return id, e.ID(), nil, ErrUnknownDataset
	}
	t, err = push.Table(spec)
	return id, e.ID(), t, err
}

// namespaceOf reads the key, which is <namespace>/<dataset>.
func namespaceOf(r kafka.Record) string {
	namespace, _, _ := strings.Cut(string(r.Key), "/")
	return namespace
}

func (p *pushes) answer(who string, err error) {
	if c, ok := p.waiting.LoadAndDelete(who); ok {
		c.(*sender).seen <- err
	}
}

// Push makes rows durable and returns once they are seen. Table is what
// wire.Push.Table made of them; the store keeps it.
func (s *Store) Push(ctx context.Context, namespace string, push *wire.Push, table *parquet.Table) error {
	b, err := json.Marshal(push)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	e := event.New()
	e.SetID(id.String())
	e.SetType(RowsType)
	e.SetSource("/freshet/feature-store")
	e.SetSubject(push.Dataset)
	e.SetTime(s.clock.Now())
	e.SetExtension("namespace", namespace)
	if err := e.SetData("application/json", json.RawMessage(b)); err != nil {
		return err
	}
	value, headers, err := events.EncodeKafka(e)
	if err != nil {
		return err
	}
	record := kafka.Record{Key: []byte(namespace + "/" + push.Dataset), Value: value, Time: e.Time()}
	for k, v := range headers {
		record.Headers = append(record.Headers, kafka.Header{Key: k, Value: []byte(v)})
	}
	seen := make(chan error, 1)
	s.pushes.waiting.Store(e.ID(), &sender{table, seen})
	defer s.pushes.waiting.Delete(e.ID())
	if err := s.kafka.Produce(ctx, Topic, record); err != nil {
		return err
	}
	select {
	case err := <-seen:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

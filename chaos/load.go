package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/nats-io/nats.go"
)

const (
	producer   = "/chaos/producer"
	arrived    = "com.example.trips.arrived"
	structured = "application/cloudevents+json"
)

// A Ledger is what the suite told its clients that it took.
type Ledger struct {
	mu        sync.Mutex
	arrivals  map[string]string // id of the outside event → by which way it was acknowledged
	events    map[string][]byte // the outside events, to be sent again
	approvals map[string]string // id of the fact → what was approved
	pushes    map[string]bool   // first trip of a batch of rows
	inferred  int
	failed    int // requests that were answered with an error, or not at all
}

func newLedger() *Ledger {
	return &Ledger{arrivals: map[string]string{}, events: map[string][]byte{}, approvals: map[string]string{}, pushes: map[string]bool{}}
}

func (l *Ledger) failure() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed++
}

// A load gives the suite work as its users do: outside producers announce data by
// HTTP, NATS and Kafka, an application pushes what became known and asks the model,
// a person approves. A producer that gets no acknowledgement tries the same event
// again until it does.
type load struct {
	s      *Suite
	ledger *Ledger
	store  *objects.Store
	http   *http.Client
	kafka  *kafka.Client
}

func newLoad(ctx context.Context, s *Suite) (*load, error) {
	store, err := objects.Open(ctx, filepath.Join(s.o.Dir, "objects"))
	if err != nil {
		return nil, err
	}
	return &load{
		s: s, ledger: newLedger(), store: store, kafka: kafka.New(s.addr("kafka/link")),
		http: &http.Client{Timeout: 5 * time.Second, Transport: web.Bearer{Token: token}},
	}, nil
}

// prepare connects the repository and waits until the model is declared.
func (l *load) prepare(ctx context.Context) error {
	dir := filepath.Join(l.s.o.Dir, "repository")
	if err := createRepository(ctx, dir); err != nil {
		return err
	}
	body := fmt.Appendf(nil, `{"name":"trips","url":%q,"branch":"main"}`, dir)
	if err := l.post(ctx, "ingestion", "/v1/repositories", "application/json", body, nil); err != nil {
		return err
	}
	if err := l.s.Settle(ctx, time.Minute); err != nil {
		return err
	}
	messages, err := readLog(ctx, l.s, 1)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if bytes.Contains(m.data, []byte(".model_declared")) {
			return nil
		}
	}
	return fmt.Errorf("the model was not declared: %s", messages[len(messages)-1].data)
}

func (l *load) close() error {
	l.kafka.Close()
	return l.store.Close()
}

func (l *load) post(ctx context.Context, service, path, contentType string, body []byte, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.s.URL(service)+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", contentType)
	res, err := l.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &answerError{res.StatusCode, string(answer)}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

type answerError struct {
	status int
	body   string
}

func (e *answerError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.body) }

// run gives work until working ends; what was begun is finished by the time that
// ctx ends, or is an error. Each producer pauses after each piece.
func (l *load) run(ctx, working context.Context, r *rand.Rand, round int, pause time.Duration, ways []string) error {
	var all sync.WaitGroup
	errs := make([]error, 6)
	for i, via := range ways {
		own := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		all.Go(func() {
			for n := 0; working.Err() == nil && errs[i] == nil; n++ {
				errs[i] = l.announce(ctx, own, fmt.Sprintf("%d-%s-%d", round, via, n), via)
				sleep(working, pause)
			}
		})
	}
	pushing := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
	all.Go(func() {
		for n := 0; working.Err() == nil; n++ {
			l.push(working, pushing, fmt.Sprintf("%d-push-%d", round, n))
			sleep(working, pause)
		}
	})
	asking := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
	all.Go(func() {
		for n := 0; working.Err() == nil; n++ {
			l.infer(working, asking, fmt.Sprintf("%d-%d", round, n))
			sleep(working, pause/2)
		}
	})
	all.Go(func() {
		for working.Err() == nil {
			l.approve(working)
			sleep(working, 2*pause)
		}
	})
	all.Wait()
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// announce stores a file and announces it until that was acknowledged.
func (l *load) announce(ctx context.Context, r *rand.Rand, id, via string) error {
	file := tripsCSV(trips(r, id))
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		event, err := l.arrival(ctx, id, file)
		if err == nil {
			err = l.send(ctx, event, via)
		}
		if err == nil {
			l.ledger.mu.Lock()
			l.ledger.arrivals[id], l.ledger.events[id] = via, event
			l.ledger.mu.Unlock()
			return nil
		}
		l.ledger.failure()
		var refused *answerError
		if errors.As(err, &refused) && refused.status/100 == 4 {
			return fmt.Errorf("the arrival %s was refused: %w", id, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the arrival %s was never acknowledged by %s: %w", id, via, err)
		}
		sleep(ctx, pause)
	}
}

func (l *load) arrival(ctx context.Context, id string, file []byte) ([]byte, error) {
	ref, err := l.store.PutBytes(ctx, file)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": producer, "type": arrived, "datacontenttype": "application/json",
		"data": map[string]any{"dataset": datasetName, "files": []any{map[string]any{"uri": "objects:" + ref.Digest, "format": "csv", "name": id + ".csv"}}},
	})
}

func (l *load) send(ctx context.Context, event []byte, via string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch via {
	case "nats":
		m := nats.NewMsg("freshet-in.default.trips")
		m.Header.Set("Content-Type", structured)
		m.Data = event
		_, err := l.s.js.PublishMsg(ctx, m)
		return err
	case "kafka":
		return l.kafka.Produce(ctx, "freshet.in", kafka.Record{Key: []byte("default/trips"), Value: event,
			Headers: []kafka.Header{{Key: "content-type", Value: []byte(structured)}}})
	}
	return l.post(ctx, "ingestion", "/v1/arrivals", structured, event, nil)
}

// again announces once more what was acknowledged, each by another way.
func (l *load) again(ctx context.Context, r *rand.Rand, most int) {
	l.ledger.mu.Lock()
	ids := slices.Sorted(maps.Keys(l.ledger.events))
	l.ledger.mu.Unlock()
	r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids[:min(most, len(ids))] {
		l.ledger.mu.Lock()
		event := l.ledger.events[id]
		l.ledger.mu.Unlock()
		if err := l.send(ctx, event, []string{"http", "nats", "kafka"}[r.IntN(3)]); err != nil {
			l.ledger.failure() // it was taken before; nobody waits for it
		}
	}
}

func (l *load) push(ctx context.Context, r *rand.Rand, name string) {
	rows := trips(r, name)[:6]
	var id, at, station []string
	var delay, distance []int64
	for _, t := range rows {
		id, at, station = append(id, t.id), append(at, t.at.Format(time.RFC3339)), append(station, t.station)
		delay, distance = append(delay, t.delay), append(distance, t.distance)
	}
	body, err := json.Marshal(map[string]any{"push_source_name": datasetName, "to": "online", "df": map[string]any{
		"trip": id, "date": at, "station": station, "delay": delay, "distance": distance}})
	if err == nil {
		err = l.post(ctx, "feature-store", "/push", "application/json", body, nil)
	}
	if err != nil {
		l.ledger.failure()
		return
	}
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	l.ledger.pushes[rows[0].id] = true
}

func (l *load) infer(ctx context.Context, r *rand.Rand, id string) {
	rows := trips(r, id)[:4]
	bytes := func(name string, of func(trip) string) map[string]any {
		var data []string
		for _, t := range rows {
			data = append(data, of(t))
		}
		return map[string]any{"name": name, "shape": []int{len(rows)}, "datatype": "BYTES", "data": data}
	}
	var distance []int64
	for _, t := range rows {
		distance = append(distance, t.distance)
	}
	body, err := json.Marshal(map[string]any{"id": id, "inputs": []any{
		bytes("trip", func(t trip) string { return t.id }),
		bytes("date", func(t trip) string { return t.at.Format(time.RFC3339) }),
		bytes("station", func(t trip) string { return t.station }),
		map[string]any{"name": "distance", "shape": []int{len(rows)}, "datatype": "INT64", "data": distance},
	}})
	if err == nil {
		err = l.post(ctx, "deployment", "/v2/models/"+modelName+"/infer", "application/json", body, nil)
	}
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	if err != nil {
		l.ledger.failed++
		return
	}
	l.ledger.inferred++
}

// approve gives a person's approval to whatever waits for one.
func (l *load) approve(ctx context.Context) {
	var waiting struct {
		Items []struct {
			Model       string `json:"model"`
			Version     int64  `json:"version"`
			Environment string `json:"environment"`
			State       string `json:"state"`
		} `json:"items"`
	}
	if err := l.s.get(ctx, l.s.URL("console")+"/v1/approvals", &waiting); err != nil {
		return
	}
	for _, a := range waiting.Items {
		if a.State != "waiting" {
			continue
		}
		body, err := json.Marshal(map[string]any{"model": a.Model, "version": a.Version, "environment": a.Environment, "verdict": "approve"})
		if err != nil {
			return
		}
		var answer struct {
			ID string `json:"id"`
		}
		if err := l.post(ctx, "console", "/v1/approvals", "application/json", body, &answer); err != nil {
			l.ledger.failure()
			continue
		}
		l.ledger.mu.Lock()
		l.ledger.approvals[answer.ID] = fmt.Sprintf("version %d for %s", a.Version, a.Environment)
		l.ledger.mu.Unlock()
	}
}

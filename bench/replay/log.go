package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	stream     = "FRESHET_1"
	aggregates = 5000
	every      = 4 // so many facts lead to one decision
)

// factsOf is how many facts make a log of n events, with what is decided on them.
func factsOf(n int) int { return n / (every + 1) * every }

// datasetOf spreads facts over the aggregates as a hash does: not in turn.
func datasetOf(i int) string { return "d" + strconv.Itoa(int(uint32(i)*2654435761>>7)%aggregates) } //nolint:gosec // a hash

// arrivalOf names the i-th fact inside its payload.
func arrivalOf(i int) string { return fmt.Sprintf("00000000-0000-5000-8000-%012x", i) }

// newFact is the i-th fact: data were checked, and of every fourth more than one row
// in twenty is refused.
func newFact(i int) (event.Event, error) {
	const rows = 1000
	refused := int64(i % 50)
	if i%every == every-1 {
		refused += 51
	}
	digest := fmt.Sprintf("sha256:%064x", i)
	return events.NewDataChecked("default", datasetOf(i), events.DataChecked{
		Dataset: datasetOf(i), Arrival: arrivalOf(i),
		Rows: rows, Accepted: rows - refused, Quarantined: refused,
		Quarantine: &events.Object{Digest: digest, URI: "objects:" + digest, Size: 40 * refused},
	})
}

// tooMany is the rule that the service decides by.
func tooMany(p events.DataChecked) bool { return 20*p.Quarantined > p.Rows }

// newDecision refuses the data of a fact.
func newDecision(namespace string, p events.DataChecked, failed int64) (event.Event, error) {
	return events.NewDataRejected(namespace, p.Dataset, events.DataRejected{
		Dataset: p.Dataset, Arrival: p.Arrival, Reason: "too_many_failures", Rows: p.Rows, Failed: failed,
		Failures: []events.RuleFailure{{Rule: "no_loops", Rows: failed}}, Quarantine: p.Quarantine,
	})
}

// A history is the log as the standard library reads it, so that what is expected of
// everybody comes from none of them.
type history struct {
	steps     []step
	decisions int
	bytes     int // of all events
}

// A step is what one event changes.
type step struct {
	dataset  int
	sequence uint64
	failed   int64
	decision bool
}

// readHistory reads the log, and holds it against what was to be made: every fourth
// fact led to one decision, which names it and says what it said.
func readHistory(ctx context.Context, url string, n int) (*history, error) {
	h := &history{}
	open := map[string]int64{} // facts that must lead to a decision: rows refused
	err := consume(ctx, url, n, func(data []byte) error {
		var e struct {
			ID, Type, Source, Subject, Sequence, CausationID, CorrelationID string
			Data                                                            struct{ Rows, Quarantined, Failed int64 }
		}
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		sequence, err := strconv.ParseUint(e.Sequence, 10, 64)
		if err != nil || sequence != uint64(len(h.steps))+1 || e.Source != "/freshet/"+owner {
			return fmt.Errorf("event %d is number %s of %s", len(h.steps)+1, e.Sequence, e.Source)
		}
		dataset, err := strconv.Atoi(strings.TrimPrefix(e.Subject, "d"))
		if err != nil {
			return err
		}
		s := step{dataset: dataset, sequence: sequence, failed: e.Data.Failed, decision: e.Type == events.TypeDataRejected}
		switch {
		case s.decision:
			if refused, ok := open[e.CausationID]; !ok || refused != e.Data.Failed || e.CorrelationID != e.CausationID {
				return fmt.Errorf("decision %d is not what its cause leads to", sequence)
			}
			delete(open, e.CausationID)
			h.decisions++
		case 20*e.Data.Quarantined > e.Data.Rows:
			open[e.ID] = e.Data.Quarantined
		}
		h.steps = append(h.steps, s)
		h.bytes += len(data)
		return nil
	})
	if err == nil && (len(open) > 0 || h.decisions != factsOf(n)/every) {
		err = fmt.Errorf("%d decisions, and %d are missing", h.decisions, len(open))
	}
	return h, err
}

// expected is the checksum of the state after the first n events.
func (h *history) expected(n int) string {
	type row struct{ n, last, rejected, failed int64 }
	var rows [aggregates]row
	for _, s := range h.steps[:n] {
		r := &rows[s.dataset]
		if s.decision {
			r.rejected++
			r.failed += s.failed
		} else {
			r.n++
			r.last = int64(s.sequence) //nolint:gosec // a count
		}
	}
	var lines []string
	for i, r := range rows {
		if r != (row{}) {
			lines = append(lines, fmt.Sprintf("d%d %d %d %d %d", i, r.n, r.last, r.rejected, r.failed))
		}
	}
	return checksum(lines)
}

func checksum(lines []string) string {
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// consume calls fn with the first n events of the log, in order.
func consume(ctx context.Context, url string, n int, fn func(data []byte) error) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(8192))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range n {
		m, err := messages.Next(jetstream.NextMaxWait(30 * time.Second))
		if err != nil {
			return err
		}
		if err := fn(m.Data()); err != nil {
			return err
		}
	}
	return nil
}

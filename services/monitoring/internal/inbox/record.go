// Package inbox takes inference records from Kafka into tables of its own and
// gives them back for windows. Offsets are kept in the same transaction as the
// records, and a record's id is its key, so that every record counts once however
// often it is delivered. A record that breaks its contract is quarantined with the
// reason and stops nothing.
package inbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/kafka"
)

// Topic is where inference records come from.
const Topic = "freshet.inference"

// Type is their CloudEvents type.
const Type = "io.freshet.inference.v1.record"

// ErrRecord is wrapped by every refusal of a record.
var ErrRecord = errors.New("not an inference record")

// A message is a record as contracts/inference/v1/record.json has it.
type message struct {
	Model       string    `json:"model"`
	Environment string    `json:"environment"`
	Time        time.Time `json:"time"`
	Rows        int       `json:"rows"`
	Keys        []string  `json:"keys"`
	Features    []column  `json:"features"`
	Predictions []column  `json:"predictions"`
	Versions    []int64   `json:"versions"`
	Rollout     string    `json:"rollout"`
	Step        int64     `json:"step"`
	LatencyMS   float64   `json:"latency_ms"`
	Error       string    `json:"error"`
}

type column struct {
	Name   string     `json:"name"`
	Values []*float64 `json:"values"`
}

// A row is a record as the table keeps it.
type row struct {
	namespace, id, model, environment string
	at                                time.Time
	rollout                           string
	step                              int64
	rows                              int
	versions, versionRows             []int64
	failed                            string
	latency                           float64
	answers, features                 []byte
}

// answers are what a prediction is joined by and what it was.
type answers struct {
	Keys        []string   `json:"keys,omitempty"`
	Versions    []int64    `json:"versions"`
	Predictions []*float64 `json:"predictions,omitempty"`
}

func parse(r kafka.Record) (row, error) {
	headers := make(map[string]string, len(r.Headers))
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	e, err := events.DecodeKafka(r.Key, r.Value, headers)
	if err != nil {
		return row{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if e.Type() != Type {
		return row{}, fmt.Errorf("%w: its type is %s", ErrRecord, e.Type())
	}
	namespace, ok := e.Extensions()["namespace"].(string)
	if !ok || namespace == "" {
		return row{}, fmt.Errorf("%w: it names no namespace", ErrRecord)
	}
	var m message
	if err := json.Unmarshal(e.Data(), &m); err != nil {
		return row{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if err := m.check(); err != nil {
		return row{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	for _, t := range []string{namespace, e.ID(), m.Model, m.Environment, m.Rollout, m.Error} {
		if !storable(t) {
			return row{}, fmt.Errorf("%w: %q is no text that can be stored", ErrRecord, t)
		}
	}
	out := row{namespace: namespace, id: e.ID(), model: m.Model, environment: m.Environment, at: m.Time.UTC(),
		rollout: m.Rollout, step: m.Step, rows: m.Rows, failed: m.Error, latency: m.LatencyMS}
	out.versions, out.versionRows = tally(m.Versions, m.Rows)
	a := answers{Keys: m.Keys, Versions: m.Versions}
	if len(m.Predictions) > 0 {
		a.Predictions = m.Predictions[0].Values
	}
	if out.answers, err = json.Marshal(a); err != nil {
		return row{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if out.features, err = json.Marshal(m.Features); err != nil {
		return row{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return out, nil
}

// storable reports whether PostgreSQL takes a text. A batch with one that it refuses
// would come again and again.
func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func (m *message) check() error {
	switch {
	case m.Model == "" || m.Environment == "":
		return errors.New("it names no model or no environment")
	case m.Time.IsZero():
		return errors.New("it has no time")
	case m.Rows < 0:
		return errors.New("it has a negative number of rows")
	case len(m.Versions) == 0 || len(m.Versions) != 1 && len(m.Versions) != m.Rows:
		return fmt.Errorf("it has %d versions for %d rows", len(m.Versions), m.Rows)
	case m.LatencyMS < 0 || math.IsNaN(m.LatencyMS):
		return errors.New("its latency is no duration")
	case m.Keys != nil && len(m.Keys) != m.Rows:
		return fmt.Errorf("it has %d keys for %d rows", len(m.Keys), m.Rows)
	case m.Error == "" && len(m.Predictions) == 0 && m.Rows > 0:
		return errors.New("it has neither predictions nor an error")
	}
	for _, list := range [][]column{m.Features, m.Predictions} {
		for _, c := range list {
			if len(c.Values) != m.Rows {
				return fmt.Errorf("column %q has %d values for %d rows", c.Name, len(c.Values), m.Rows)
			}
		}
	}
	return nil
}

// tally counts rows by version, in order of first appearance.
func tally(versions []int64, rows int) (list, counts []int64) {
	if len(versions) == 1 {
		return versions, []int64{int64(rows)}
	}
	at := map[int64]int{}
	for _, v := range versions {
		i, ok := at[v]
		if !ok {
			i = len(list)
			at[v] = i
			list, counts = append(list, v), append(counts, 0)
		}
		counts[i]++
	}
	return list, counts
}

// A Record of one request, as windows take it.
type Record struct {
	At          time.Time
	Rows        int
	Versions    []int64 // of each row; a single one stands for all
	Failed      string  // empty, or why there is no prediction
	LatencyMS   float64
	Keys        []string
	Predictions []float64 // NaN where there is none
	Features    []Feature
}

// A Feature is a column of what models saw.
type Feature struct {
	Name   string
	Values []float64
}

// VersionOf is the version of a row.
func (r *Record) VersionOf(i int) int64 {
	if len(r.Versions) == 1 {
		return r.Versions[0]
	}
	return r.Versions[i]
}

func (r *Record) decode(a, f []byte) error {
	var ans answers
	if err := json.Unmarshal(a, &ans); err != nil {
		return fmt.Errorf("stored record: %w", err)
	}
	r.Keys, r.Versions, r.Predictions = ans.Keys, ans.Versions, numbers(ans.Predictions)
	if f == nil {
		return nil
	}
	var columns []column
	if err := json.Unmarshal(f, &columns); err != nil {
		return fmt.Errorf("stored record: %w", err)
	}
	for _, c := range columns {
		r.Features = append(r.Features, Feature{c.Name, numbers(c.Values)})
	}
	return nil
}

func numbers(in []*float64) []float64 {
	if in == nil {
		return nil
	}
	out := make([]float64, len(in))
	for i, v := range in {
		if v == nil {
			out[i] = math.NaN()
		} else {
			out[i] = *v
		}
	}
	return out
}

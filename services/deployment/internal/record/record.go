// Package record writes what was asked of models and what they answered to Kafka:
// one CloudEvent per request, column by column, as contracts/inference/v1/record.json
// says.
//
// Writing is asynchronous and in batches. Memory is bounded: when Kafka does not
// keep up the queue fills, and then offering waits, which slows requests down
// instead of losing records. What is queued when the service stops in order is
// written before it ends.
package record

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Topic is where inference records go.
const Topic = "freshet.inference"

// Type is the CloudEvents type of an inference record.
const Type = "io.freshet.inference.v1.record"

// Errors of failed requests.
const (
	InvalidRequest      = "invalid_request"
	FeaturesUnavailable = "features_unavailable"
	FeatureMissing      = "feature_missing"
	ModelFailed         = "model_failed"
	Cancelled           = "cancelled"
)

// A Record of one request.
type Record struct {
	Model       string    `json:"model"`
	Environment string    `json:"environment"`
	Request     string    `json:"request,omitempty"`
	Time        time.Time `json:"time"`
	Rows        int       `json:"rows"`
	Key         string    `json:"key,omitempty"`
	Keys        []string  `json:"keys,omitempty"`
	Features    []Column  `json:"features,omitempty"`
	Predictions []Column  `json:"predictions,omitempty"`
	Versions    []int64   `json:"versions"`
	Rollout     string    `json:"rollout,omitempty"`
	Step        int64     `json:"step"`
	LatencyMS   float64   `json:"latency_ms"`
	Error       string    `json:"error,omitempty"`
	Detail      string    `json:"detail,omitempty"`
}

// A Column of numbers, one a row.
type Column struct {
	Name   string  `json:"name"`
	Values Numbers `json:"values"`
}

// Numbers are written with null where there is none.
type Numbers []float64

// MarshalJSON writes NaN, and what JSON cannot say, as null.
func (n Numbers) MarshalJSON() ([]byte, error) {
	b := make([]byte, 1, 2+12*len(n))
	b[0] = '['
	for i, v := range n {
		if i > 0 {
			b = append(b, ',')
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendFloat(b, v, 'g', -1, 64)
		}
	}
	return append(b, ']'), nil
}

// cells is how many values one Kafka message may carry: well below a broker's
// usual limit of 1 MB.
const cells = 40_000

// split cuts a record with very many rows into several of the same request.
func (r Record) split() []Record {
	per := max(1, cells/(len(r.Features)+len(r.Predictions)+2))
	if r.Rows <= per {
		return []Record{r}
	}
	var parts []Record
	for from := 0; from < r.Rows; from += per {
		to := min(r.Rows, from+per)
		p := r
		p.Rows = to - from
		if len(r.Keys) == r.Rows {
			p.Keys = r.Keys[from:to]
		}
		if len(r.Versions) == r.Rows {
			p.Versions = r.Versions[from:to]
		}
		p.Features, p.Predictions = cut(r.Features, from, to), cut(r.Predictions, from, to)
		parts = append(parts, p)
	}
	return parts
}

func cut(columns []Column, from, to int) []Column {
	out := make([]Column, len(columns))
	for i, c := range columns {
		out[i] = Column{Name: c.Name, Values: c.Values[from:to]}
	}
	return out
}

func (r Record) encode() ([]byte, error) { return json.Marshal(r) }

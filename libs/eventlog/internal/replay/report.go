package replay

import (
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
)

// Progress is how far a replay is.
type Progress struct {
	Phase string  `json:"phase"`
	Done  uint64  `json:"done"` // events
	Of    uint64  `json:"of"`
	Took  float64 `json:"seconds"` // since the phase began
}

// A Report is the outcome of a replay.
type Report struct {
	Service   string        `json:"service"`
	From      source.Origin `json:"from"`
	Events    uint64        `json:"events"`  // the position that was folded to
	Took      float64       `json:"seconds"` // of folding
	Rate      float64       `json:"events_per_second"`
	Version   int           `json:"version"` // of the fold
	Tables    int           `json:"tables,omitempty"`
	Rows      int64         `json:"rows,omitempty"`
	Decisions int64         `json:"decisions"`        // compared
	Digest    string        `json:"digest,omitempty"` // of the tables' canonical dump
	Equal     bool          `json:"equal"`
	Failed    int64         `json:"failed,omitempty"`   // differences where the version is the same
	Reported  int64         `json:"reported,omitempty"` // where another version decided
	Parked    int           `json:"parked,omitempty"`   // events that a rebuild parked again

	Difference *Difference `json:"difference,omitempty"` // the first that fails
	Other      *Difference `json:"other,omitempty"`      // the first that is reported
}

func (r *Report) rate(began time.Time) {
	r.Took = time.Since(began).Seconds()
	if r.Took > 0 {
		r.Rate = float64(r.Events) / r.Took
	}
}

// reporter tells how far a phase is, a few times a second.
func reporter(to func(Progress), phase string, of uint64) func(uint64) {
	if to == nil {
		return nil
	}
	began := time.Now()
	var last time.Duration
	return func(done uint64) {
		if took := time.Since(began); done >= of || last == 0 || took-last > 200*time.Millisecond {
			last = took
			to(Progress{Phase: phase, Done: done, Of: of, Took: took.Seconds()})
		}
	}
}

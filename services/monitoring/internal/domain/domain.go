// Package domain is monitoring's arithmetic of windows and its thresholds.
package domain

import "time"

// FewestRows is how many rows a window needs before drift is judged by it: fewer
// differ from any reference by chance.
const FewestRows = 200

// Kinds of windows.
const (
	Traffic = "traffic"
	Canary  = "canary"
	Quality = "quality"
)

// Roles of versions in a window.
const (
	Champion  = "champion"
	Candidate = "candidate"
)

// States of a canary.
const (
	CanaryWaiting  = "waiting"  // until the version is loaded
	CanaryStepping = "stepping" // a step takes traffic
	CanaryClosed   = "closed"   // the step's window closed
	CanaryEnded    = "ended"    // the rollout did
)

// Boundary is the last boundary of aligned windows that is not after t. Windows
// of a day begin at midnight UTC.
func Boundary(t time.Time, window time.Duration) time.Time { return t.UTC().Truncate(window) }

// Next is the first boundary after t.
func Next(t time.Time, window time.Duration) time.Time { return Boundary(t, window).Add(window) }

// A Span is a window to be closed.
type Span struct {
	From, To time.Time
	Missed   int64 // boundaries that passed without a window
}

// Due is the window that ends at the last boundary before or at now, beginning
// where the last one ended, however many boundaries lie between; false where none
// has passed.
func Due(last, now time.Time, window time.Duration) (Span, bool) {
	if window <= 0 {
		return Span{}, false
	}
	to := Boundary(now, window)
	if !to.After(last) {
		return Span{}, false
	}
	return Span{From: last.UTC(), To: to, Missed: int64(to.Sub(Next(last, window)) / window)}, true
}

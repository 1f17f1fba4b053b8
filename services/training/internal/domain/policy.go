// Package domain holds the rules of training: when a model may be trained again,
// and what happens to a reason to train that cannot be followed at once.
package domain

import (
	"slices"
	"time"
)

// Triggers of a training.
const (
	Data     = "data"
	Code     = "code"
	Drift    = "drift"
	Quality  = "quality"
	Schedule = "schedule"
	Person   = "person"
)

// Reasons for not training.
const (
	NotAskedFor       = "not_asked_for"
	WaitingForCommits = "waiting_for_commits"
	Cooldown          = "cooldown"
	PerDay            = "per_day"
	GiveUp            = "give_up"
	NoData            = "no_data"
	NoCode            = "no_code"
	Running           = "running"
	Mode              = "mode"
	Withdrawn         = "withdrawn"
	Runaway           = "runaway"
)

// RunawayLimit is how many trainings a model gets between two pieces of news (a
// data commit, a code commit, a person's act), whatever its own rules say. It
// stops a loop of events that none of a model's rules foresaw.
const RunawayLimit = 20

// ModeObserve is the mode in which a model does nothing by itself.
const ModeObserve = "observe"

// A Model is what policy knows of one.
type Model struct {
	Declared  bool
	Withdrawn bool
	HasData   bool // its examples' dataset has a commit
	Mode      string

	When        []string
	DataCommits int64
	Cooldown    time.Duration
	PerDay      int64 // 0: no limit
	GiveUpAfter int64 // 0: never

	Running      bool
	CommitsSince int64     // data commits since the last training was requested
	Last         time.Time // when that was; zero before the first
	Today        int64     // trainings requested in the last 24 hours
	WithoutPass  int64     // trainings since the last pass or news
	SinceNews    int64     // trainings since the last news
}

// Refuse returns why a trigger does not make the model train now, or "".
//
// A person's wish is followed in any mode and needs no place in the when-list;
// neither it nor a code commit waits for a cooldown, and neither is given up,
// because both are news themselves. The day's budget and one training at a time
// hold for everything.
func Refuse(m Model, trigger string, now time.Time) string {
	deliberate := trigger == Person || trigger == Code
	switch {
	case !m.Declared:
		return NoCode
	case m.Withdrawn:
		return Withdrawn
	case m.Mode == ModeObserve && trigger != Person:
		return Mode
	case trigger != Person && !slices.Contains(m.When, trigger):
		return NotAskedFor
	case !m.HasData:
		return NoData
	case trigger == Data && m.CommitsSince < m.DataCommits:
		return WaitingForCommits
	case m.Running:
		return Running
	case m.SinceNews >= RunawayLimit:
		return Runaway
	case m.PerDay > 0 && m.Today >= m.PerDay:
		return PerDay
	case deliberate:
		return ""
	case m.GiveUpAfter > 0 && m.WithoutPass >= m.GiveUpAfter:
		return GiveUp
	case !m.Last.IsZero() && now.Before(m.Last.Add(m.Cooldown)):
		return Cooldown
	default:
		return ""
	}
}

// What a code change that was not trained on waits for.
const (
	NotWaiting     = ""
	UntilTheEnd    = "end"  // of the training that runs
	UntilMoreData  = "data" // the next data commit
	tooLittleData  = "too_little_data"
	noDataForViews = "no_data"
)

// Remember returns what a refused code change waits for. Only one change waits,
// the newest: it contains the older ones.
func Remember(trigger, reason string) string {
	if trigger != Code {
		return NotWaiting
	}
	switch reason {
	case Running:
		return UntilTheEnd
	case NoData, PerDay, Runaway:
		return UntilMoreData
	default:
		return NotWaiting
	}
}

// TooLittleData reports whether a training set failed for want of data, which
// more data cures: such a failure does not count against the model, and its code
// change continues waiting.
func TooLittleData(reason string) bool {
	return reason == tooLittleData || reason == noDataForViews
}

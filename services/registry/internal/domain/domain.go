// Package domain holds the registry's rules as plain functions: which way a version
// takes through its environments, and who has to agree. It knows nothing of events,
// tables or clocks, and cannot fail.
package domain

// Mode is how much the suite may do for a model by itself.
type Mode string

// Modes, as freshet.yaml names them.
const (
	Observe Mode = "observe" // approve nothing
	Propose Mode = "propose" // always ask a person
	Act     Mode = "act"     // do what the environment says
)

// Status is what the gates made of a version.
type Status string

// Statuses of a version.
const (
	Registered Status = "registered"
	Passed     Status = "passed"
	Refused    Status = "refused"
)

// Stage is where a version stands in one environment.
type Stage string

// Stages of a version in an environment.
const (
	Asked    Stage = "asked" // waits for a person
	Approved Stage = "approved"
	Denied   Stage = "denied"
	Champion Stage = "champion"
	Former   Stage = "former" // was champion
)

// Reasons why a version does not go to an environment.
const (
	ByPerson   = "person"
	Overtaken  = "overtaken"
	RolledBack = "rolled_back"
	Withdrawn  = "withdrawn"
	NotPassed  = "not_passed"
	Observed   = "observe"
)

// ApproveAuto is what an environment says when no person is needed.
const ApproveAuto = "auto"

// Offer is what happens to a version that comes to an environment.
type Offer struct {
	Approve bool   // by rule
	Ask     bool   // a person
	Deny    string // the reason, when neither
	// Overtakes are the older versions that no longer need to wait there.
	Overtakes []int64
}

// An Arrival is a passed version that comes to an environment.
type Arrival struct {
	Version   int64
	Mode      Mode
	Approve   string // what the environment's rule says
	Withdrawn bool   // the model is no longer declared
	// Standing are the model's versions in that environment, oldest first.
	Standing []Standing
}

// Standing is one version's stage in the environment in question.
type Standing struct {
	Version int64
	Stage   Stage
}

// Route decides what happens to a version that comes to an environment.
func Route(a Arrival) Offer {
	switch {
	case a.Withdrawn:
		return Offer{Deny: Withdrawn}
	case a.Mode == Observe:
		return Offer{Deny: Observed}
	}
	var o Offer
	for _, s := range a.Standing {
		live := s.Stage == Asked || s.Stage == Approved || s.Stage == Champion
		if s.Version > a.Version && live {
			return Offer{Deny: Overtaken}
		}
		if s.Version < a.Version && s.Stage == Asked {
			o.Overtakes = append(o.Overtakes, s.Version)
		}
	}
	if a.Mode == Act && a.Approve == ApproveAuto {
		o.Approve = true
	} else {
		o.Ask = true
	}
	return o
}

// Next is the position after i in n environments, or false at the end.
func Next(i, n int) (int, bool) { return i + 1, i >= 0 && i+1 < n }

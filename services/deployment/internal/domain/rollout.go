// Package domain is a rollout's state machine and the split of traffic: pure, so
// that every path through it can be tested.
package domain

// State is where a rollout stands.
type State string

// States. Completed and RolledBack are final.
const (
	Loading    State = "loading"
	Stepping   State = "stepping"
	Completed  State = "completed"
	RolledBack State = "rolled_back"
)

// Kinds of rollouts.
const (
	Promotion = "promotion"
	Rollback  = "rollback"
)

// Reasons for going back.
const (
	ByCanary         = "canary"
	ByReplica        = "replica_failed"
	ByTooFewRequests = "too_few_requests"
	ByPerson         = "person"
	BySuperseded     = "superseded"
)

// A Rollout moves an environment's traffic to a version.
type Rollout struct {
	ID          string
	Model       string
	Environment string
	Version     int64
	Previous    *int64 // what serves until it is completed
	Kind        string
	State       State
	Step        int64
	Weight      int64   // per cent of traffic that Version gets now
	Steps       []int64 // per cents before 100
}

// A Move is what a rollout does next.
type Move struct {
	To     State
	Step   int64
	Weight int64
	Reason string // of going back
}

// Open reports whether the rollout has not ended.
func (r Rollout) Open() bool { return r.State == Loading || r.State == Stepping }

// Ready is the move when the version is loaded: to the first step, or to all
// traffic where there are no steps or nothing serves that could be compared.
func (r Rollout) Ready() (Move, bool) {
	if r.State != Loading {
		return Move{}, false
	}
	if len(r.Steps) == 0 || r.Previous == nil {
		return Move{To: Completed, Step: r.Step, Weight: 100}, true
	}
	return Move{To: Stepping, Step: 0, Weight: r.Steps[0]}, true
}

// Failed is the move when the version cannot be loaded.
func (r Rollout) Failed() (Move, bool) {
	if r.State != Loading {
		return Move{}, false
	}
	return r.Back(ByReplica)
}

// Judged is the move on a verdict about a step; a verdict about another step than
// the present one is late and moves nothing.
func (r Rollout) Judged(step int64, pass bool) (Move, bool) {
	if r.State != Stepping || step != r.Step {
		return Move{}, false
	}
	if !pass {
		return r.Back(ByCanary)
	}
	if next := r.Step + 1; next < int64(len(r.Steps)) {
		return Move{To: Stepping, Step: next, Weight: r.Steps[next]}, true
	}
	return Move{To: Completed, Step: r.Step, Weight: 100}, true
}

// Due is the move when a step has lasted as long as it may without a verdict.
func (r Rollout) Due(step int64) (Move, bool) {
	if r.State != Stepping || step != r.Step {
		return Move{}, false
	}
	return r.Back(ByTooFewRequests)
}

// Back is the move that gives all traffic back to what served before.
func (r Rollout) Back(reason string) (Move, bool) {
	if !r.Open() {
		return Move{}, false
	}
	return Move{To: RolledBack, Step: r.Step, Reason: reason}, true
}

// After is the rollout once it has moved.
func (r Rollout) After(m Move) Rollout {
	r.State, r.Step, r.Weight = m.To, m.Step, m.Weight
	return r
}

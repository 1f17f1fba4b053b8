package whatif

import (
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
)

// A stage is what an environment does with a model. Versions are named by the events
// that registered them.
type stage struct {
	serving  string
	champion string // as the registry has it
	rollout  string // under way
	coming   string // the version that it brings
	weight   int64
}

// A place is an environment of a model, in both ways.
type place struct {
	stage [2]stage
	apart bool
	since time.Time // the same in both ways since then
}

// same says whether an environment is the same in both ways, and was since a time.
func (p *place) same(since time.Time) bool {
	return p.stage[then] == p.stage[now] && !since.Before(p.since)
}

type places struct {
	versions *versions
	all      map[string]*place // by model and environment
}

func (p *places) of(model, environment string) *place {
	key := model + "/" + environment
	if p.all[key] == nil {
		p.all[key] = &place{}
	}
	return p.all[key]
}

// serves says whether a model serves anywhere under the changed rules.
func (p *places) serves(model string) bool {
	for key, one := range p.all {
		if strings.HasPrefix(key, model+"/") && one.stage[now].serving != "" {
			return true
		}
	}
	return false
}

// follow takes in what an event of one way does to an environment.
func (p *places) follow(w way, e event.Event) {
	p.versions.register(w, e)
	switch e.Type() {
	case events.TypeRolloutStarted, events.TypeRolloutStepped, events.TypeRolloutCompleted, events.TypeRolloutRolledBack, events.TypeChampionChanged:
	default:
		return
	}
	n := namesIn(e)
	if n.model == "" || n.Version == nil {
		return
	}
	version := p.versions.id(w, n.model, *n.Version)
	s := &p.of(n.model, n.Environment).stage[w]
	switch e.Type() {
	case events.TypeRolloutStarted:
		s.rollout, s.coming, s.weight = n.Rollout, version, 0
	case events.TypeRolloutStepped:
		s.weight = n.Weight
	case events.TypeRolloutCompleted:
		s.serving, s.rollout, s.coming, s.weight = version, "", "", 0
	case events.TypeRolloutRolledBack:
		if s.rollout == n.Rollout {
			s.rollout, s.coming, s.weight = "", "", 0
		}
	case events.TypeChampionChanged:
		s.champion = version
	}
}

// settle notes where the two ways part and meet, once an event has been taken in by both.
func (p *places) settle(at time.Time) {
	for _, one := range p.all {
		switch apart := one.stage[then] != one.stage[now]; {
		case apart:
			one.apart = true
		case one.apart:
			one.apart, one.since = false, at
		}
	}
}

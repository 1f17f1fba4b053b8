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

// An environment of a model, in both timelines.
type environment struct {
	stage   [2]stage
	differs bool
	since   time.Time // the same in both timelines since then
}

// same reports whether an environment is the same in both timelines, and was since a time.
func (p *environment) same(since time.Time) bool {
	return p.stage[then] == p.stage[now] && !since.Before(p.since)
}

type environments struct {
	versions *versions
	all      map[string]*environment // by model and environment
}

func (p *environments) of(model, name string) *environment {
	key := model + "/" + name
	if p.all[key] == nil {
		p.all[key] = &environment{}
	}
	return p.all[key]
}

// serves reports whether a model serves anywhere under the changed rules.
func (p *environments) serves(model string) bool {
	for key, one := range p.all {
		if strings.HasPrefix(key, model+"/") && one.stage[now].serving != "" {
			return true
		}
	}
	return false
}

// follow applies an event of one timeline to its environment.
func (p *environments) follow(w timeline, e event.Event) {
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

// compare notes which environments differ, once both timelines have applied an event.
func (p *environments) compare(at time.Time) {
	for _, one := range p.all {
		switch differs := one.stage[then] != one.stage[now]; {
		case differs:
			one.differs = true
		case one.differs:
			one.differs, one.since = false, at
		}
	}
}

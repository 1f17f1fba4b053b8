package engine

import (
	"strings"

	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
)

// A Type is what a service does with events of one type.
type Type struct {
	Name     string
	Service  string // its owner
	Source   string // of its events, as their attribute says
	Own      bool   // it is this service
	Decision bool   // of this service: applied where it was made
	Resolves string // how it resolves a parked event of this service: Retried, Discarded, or not at all
	apply    ApplyFunc
	decide   DecideFunc
}

func (g *Engine) newType(typ string) *Type {
	t := &Type{Name: typ, Service: envelope.ServiceOf(typ), apply: g.Fold.apply[typ], decide: g.Fold.decide[typ], Resolves: g.resolution(typ)}
	t.Source = envelope.SourcePrefix + t.Service
	t.Own = t.Service == g.service
	t.Decision = t.Own && g.IsDecision(typ)
	return t
}

// Type is what the service does with events of a type.
func (g *Engine) Type(typ string) *Type {
	if t, ok := g.types[strings.TrimPrefix(typ, envelope.TypePrefix)]; ok && t.Name == typ {
		return t
	}
	return g.newType(typ)
}

// Published is the type of what is published under a subject of the log; the empty
// one where no event can be.
func (g *Engine) Published(subject string) *Type {
	rest, ok := strings.CutPrefix(subject, envelope.SubjectRoot+".")
	_, rest, found := strings.Cut(rest, ".") // after the namespace
	if t, known := g.types[rest]; ok && found && known {
		return t
	}
	if !ok || !found || strings.Count(rest, ".") != 2 {
		return g.newType("")
	}
	return g.newType(envelope.TypePrefix + rest)
}

// Decides says whether the service decides on events of the type.
func (t *Type) Decides() bool { return t.decide != nil }

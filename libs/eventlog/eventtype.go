package eventlog

import "strings"

// An eventType is what a service does with events of one type.
type eventType struct {
	typ      string
	service  string // its owner
	source   string // of its events, as their attribute says
	own      bool   // it is this service
	decision bool   // of this service: applied where it was made
	answer   string // to a parked event of this service: retried, discarded, or neither
	apply    ApplyFunc
	decide   DecideFunc
}

// eventTypes are those that the fold knows, by what follows the prefix, so that each
// event of the log costs one look.
func (l *Log) eventTypes() map[string]*eventType {
	types := map[string]*eventType{}
	for _, typ := range l.fold.Types() {
		types[strings.TrimPrefix(typ, typePrefix)] = l.newEventType(typ)
	}
	return types
}

func (l *Log) newEventType(typ string) *eventType {
	t := &eventType{typ: typ, service: serviceOf(typ), apply: l.fold.apply[typ], decide: l.fold.decide[typ], answer: l.retryName(typ)}
	t.source = sourcePrefix + t.service
	t.own = t.service == l.service
	t.decision = t.own && l.isDecision(typ)
	return t
}

func (l *Log) eventType(typ string) *eventType {
	if t, ok := l.types[strings.TrimPrefix(typ, typePrefix)]; ok && t.typ == typ {
		return t
	}
	return l.newEventType(typ)
}

// published is the type of what is published under a subject of the log; the empty
// one where no event can be.
func (l *Log) published(subject string) *eventType {
	rest, ok := strings.CutPrefix(subject, subjectRoot+".")
	_, rest, found := strings.Cut(rest, ".") // after the namespace
	if t, known := l.types[rest]; ok && found && known {
		return t
	}
	if !ok || !found || strings.Count(rest, ".") != 2 {
		return l.newEventType("")
	}
	return l.newEventType(typePrefix + rest)
}

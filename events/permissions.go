package events

import "slices"

// Permissions are the NATS subjects that a service's user may publish and
// subscribe to. They are allow-lists: what is not named is denied, so that only
// an owner can write its events and nobody can purge or delete a stream by its
// name.
type Permissions struct {
	Publish   []string
	Subscribe []string
}

// Services are the names of all services, sorted.
func Services() []string {
	var names []string
	for _, c := range Channels {
		if !slices.Contains(names, c.Owner) {
			names = append(names, c.Owner)
		}
	}
	slices.Sort(names)
	return names
}

// PublishSubjects are the log's subjects that a service may write: the filter
// that its compare-and-append uses, too.
func PublishSubjects(service string) []string {
	for _, c := range Channels {
		if c.Owner == service {
			return []string{"freshet.*." + service + ".>"}
		}
	}
	return nil
}

// Produces are the types that a service owns, sorted.
func Produces(service string) []string {
	return typesWhere(func(c Channel) bool { return c.Owner == service })
}

// Consumes are the types that a service reads, sorted.
func Consumes(service string) []string {
	return typesWhere(func(c Channel) bool { return slices.Contains(c.Consumers, service) })
}

func typesWhere(keep func(Channel) bool) []string {
	var types []string
	for _, c := range Channels {
		if keep(c) {
			types = append(types, c.Type)
		}
	}
	slices.Sort(types)
	return types
}

// NATSPermissions are what a service needs on a server whose log is the stream
// named: append its own events, read the whole log, exchange hints, and get its
// answers. Reading takes the stream's information, consumers on it, and direct
// gets. Only services that take events from outside read their stream as well:
// name it in alsoRead.
func NATSPermissions(service, stream string, alsoRead ...string) Permissions {
	p := Permissions{
		Publish:   PublishSubjects(service),
		Subscribe: []string{"_INBOX.>", "freshet-hint.>"},
	}
	p.Publish = append(p.Publish, "freshet-hint."+service, "$JS.API.INFO")
	for _, s := range append([]string{stream}, alsoRead...) {
		p.Publish = append(p.Publish,
			"$JS.API.STREAM.INFO."+s,
			"$JS.API.STREAM.MSG.GET."+s,
			"$JS.API.DIRECT.GET."+s,
			"$JS.API.DIRECT.GET."+s+".>",
			"$JS.API.CONSUMER.CREATE."+s,
			"$JS.API.CONSUMER.CREATE."+s+".>",
			"$JS.API.CONSUMER.DURABLE.CREATE."+s+".*",
			"$JS.API.CONSUMER.INFO."+s+".*",
			"$JS.API.CONSUMER.DELETE."+s+".*",
			"$JS.API.CONSUMER.MSG.NEXT."+s+".*",
			"$JS.ACK."+s+".>",
			"$JS.FC."+s+".>",
		)
	}
	return p
}

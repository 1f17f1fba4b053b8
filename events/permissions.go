package events

import "slices"

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

// PublishSubjects are the log's subjects that a service may write, for its NATS
// user's allow-list: only an owner can write its events. Its compare-and-append
// uses the same filter.
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

package main

import (
	"bytes"
	"fmt"
)

func emitEvents(b *bytes.Buffer, c *catalogue) error {
	b.WriteString("import cloudevents \"github.com/cloudevents/sdk-go/v2/event\"\n\n// Event types.\nconst (\n")
	for _, ch := range c.channels {
		fmt.Fprintf(b, "%s = %q\n", c.constant(ch), ch.Type)
	}
	b.WriteString(")\n\n// Channels tells of every event type who owns it and who reads it.\nvar Channels = map[string]Channel{\n")
	for _, ch := range c.channels {
		fmt.Fprintf(b, "%s: {Type: %q, Owner: %q, Decision: %v, Subject: %q, Consumers: %#v, Schema: %q, payload: func() payload { return &%s{} }},\n",
			c.constant(ch), ch.Type, ch.Owner, ch.Kind == "decision", ch.Subject, ch.Consumers, ch.path(), c.payload(ch))
	}
	b.WriteString("}\n\n")
	shared := map[string]bool{}
	for _, ch := range c.channels {
		name := c.payload(ch)
		if c.schemas[ch.path()].Ref != "" { // every service has such a type, and the log makes its events
			if !shared[name] {
				emitParse(b, name)
			}
			shared[name] = true
			continue
		}
		fmt.Fprintf(b, "// EventType is the type of the events that say this.\nfunc (*%[1]s) EventType() string { return Type%[1]s }\n\n", name)
		emitParse(b, name)
		fmt.Fprintf(b, "// New%[1]s makes a %[2]s about subject. It is not recorded until the log gives it an identity.\n"+
			"func New%[1]s(namespace, subject string, p %[1]s) (cloudevents.Event, error) {\nreturn draft(Type%[1]s, namespace, subject, &p)\n}\n\n", name, ch.Type)
	}
	return nil
}

func emitParse(b *bytes.Buffer, name string) {
	fmt.Fprintf(b, "// ParseEvent decodes and validates the payload of an event, as Parse does.\n"+
		"func (v *%[1]s) ParseEvent(e cloudevents.Event) error { return parseEvent(e, v) }\n\n", name)
}

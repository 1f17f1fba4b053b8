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
	for _, ch := range c.channels {
		if c.schemas[ch.path()].Ref != "" {
			continue // the log makes these
		}
		fmt.Fprintf(b, "// New%[1]s makes a %[2]s about subject. It is not recorded until the log gives it an identity.\nfunc New%[1]s(namespace, subject string, p %[1]s) (cloudevents.Event, error) {\nreturn draft(Type%[1]s, namespace, subject, &p)\n}\n\n", c.payload(ch), ch.Type)
	}
	return nil
}

package main

import (
	"bytes"
	"fmt"
)

// emitShapes writes the JSON form of every payload: which members there must be
// and of which kind. Structs cannot tell an absent member from a zero one.
func emitShapes(b *bytes.Buffer, c *catalogue) error {
	b.WriteString("var (\n")
	for _, path := range c.structs() {
		s := c.schemas[path]
		fmt.Fprintf(b, "shapeOf%s = &shape{kind: isObject, members: []member{\n", refName(path))
		for _, p := range s.order {
			expr, err := shapeExpr(s.Properties[p])
			if err != nil {
				return fmt.Errorf("%s: %s: %w", path, p, err)
			}
			fmt.Fprintf(b, "{name: %q, required: %v, shape: %s},\n", p, s.requires(p), expr)
		}
		b.WriteString("}}\n")
	}
	b.WriteString(")\n\n")
	for _, path := range c.structs() {
		name := refName(path)
		fmt.Fprintf(b, "func (*%[1]s) shape() *shape { return shapeOf%[1]s }\n", name)
	}
	return nil
}

func shapeExpr(s *schema) (string, error) {
	if s.Ref != "" {
		return "shapeOf" + refName(s.Ref), nil
	}
	switch s.Type {
	case "string":
		return "shapeString", nil
	case "integer":
		return "shapeInteger", nil
	case "number":
		return "shapeNumber", nil
	case "boolean":
		return "shapeBoolean", nil
	case "":
		return "shapeAny", nil
	case "array":
		inner, err := shapeExpr(s.Items)
		return "&shape{kind: isArray, of: " + inner + "}", err
	case "object":
		inner, err := shapeExpr(s.Additional)
		return "&shape{kind: isMap, of: " + inner + "}", err
	}
	return "", fmt.Errorf("a %q has no shape", s.Type)
}

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

package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/freshet-io/freshet/libs/tools/goname"
)

const importStrictJSON = "import \"github.com/freshet-io/freshet/events/internal/strictjson\"\n\n"

// maxFields is how many members a reader's bit sets can tell apart.
const maxFields = 64

// emitReaders writes what turns JSON into every struct. Structs alone cannot tell
// an absent member from a zero one, so each comes with the table of its members.
func emitReaders(b *bytes.Buffer, c *catalogue) error {
	b.WriteString(importStrictJSON)
	for _, path := range c.structs() {
		s := c.schemas[path]
		if len(s.order) > maxFields {
			return fmt.Errorf("%s: has %d members; a reader can tell %d apart", path, len(s.order), maxFields)
		}
		name := refName(path)
		var required uint64
		for i, p := range s.order {
			if s.requires(p) {
				required |= 1 << i
			}
		}
		fmt.Fprintf(b, "var fieldsOf%s = &strictjson.Fields{Names: %#v, Required: %#b}\n\n", name, append([]string{}, s.order...), required)
		if len(s.order) == 0 {
			fmt.Fprintf(b, "func (v *%[1]s) read(r *strictjson.Reader) {\no := r.Open(fieldsOf%[1]s)\nr.Member(&o)\n}\n\n", name)
			continue
		}
		fmt.Fprintf(b, "func (v *%[1]s) read(r *strictjson.Reader) {\nfor o := r.Open(fieldsOf%[1]s); ; {\nswitch r.Member(&o) {\n", name)
		for i, p := range s.order {
			call, err := readCall(s.Properties[p], "v."+goname.Of(p), !s.requires(p))
			if err != nil {
				return fmt.Errorf("%s: %s: %w", path, p, err)
			}
			fmt.Fprintf(b, "case %d:\n%s\n", i, call)
		}
		b.WriteString("default:\nreturn\n}\n}\n}\n\n")
	}
	return nil
}

// readCall is the statement that reads a member into a field.
func readCall(f *schema, field string, optional bool) (string, error) {
	t, err := goType(f)
	if err != nil {
		return "", err
	}
	if optional && byPointer(t) {
		return call("strictjson.ReadPointer", "&"+field, "r", f, reads)
	}
	switch {
	case f.Ref != "":
		return field + ".read(r)", nil
	case f.Type == "array":
		return call("strictjson.ReadList", "&"+field, "r", f.Items, reads)
	case f.Type == "object":
		return call("strictjson.ReadMap", "&"+field, "r", f.Additional, reads)
	}
	return "strictjson.Read" + scalar(f) + "(&" + field + ", r)", nil
}

// emitWriters writes what turns every struct into JSON.
func emitWriters(b *bytes.Buffer, c *catalogue) error {
	b.WriteString(importStrictJSON)
	for _, path := range c.structs() {
		s := c.schemas[path]
		fmt.Fprintf(b, "func (v *%s) write(w *strictjson.Writer) {\nw.Open()\n", refName(path))
		for _, p := range s.order {
			call, condition, err := writeCall(s.Properties[p], "v."+goname.Of(p), !s.requires(p))
			if err != nil {
				return fmt.Errorf("%s: %s: %w", path, p, err)
			}
			if condition == "" {
				fmt.Fprintf(b, "w.Key(%q)\n%s\n", p, call)
			} else {
				fmt.Fprintf(b, "if %s {\nw.Key(%q)\n%s\n}\n", condition, p, call)
			}
		}
		b.WriteString("w.Close()\n}\n\n")
	}
	return nil
}

// writeCall is the statement that writes a field, and when it is to be written;
// always if that is empty. It is what encoding/json takes omitempty for.
func writeCall(f *schema, field string, optional bool) (statement, condition string, err error) {
	t, err := goType(f)
	if err != nil {
		return "", "", err
	}
	value := "&" + field
	if optional {
		switch {
		case byPointer(t):
			value, condition = field, field+" != nil"
		case t == "any":
			condition = field + " != nil"
		case t == "string":
			condition = field + ` != ""`
		case t == "bool":
			condition = field
		default:
			condition = "len(" + field + ") > 0"
		}
	}
	switch {
	case f.Ref != "":
		statement = field + ".write(w)"
	case f.Type == "array":
		statement, err = call("strictjson.WriteList", field, "w", f.Items, writes)
	case f.Type == "object":
		statement, err = call("strictjson.WriteMap", field, "w", f.Additional, writes)
	default:
		statement = "strictjson.Write" + scalar(f) + "(" + value + ", w)"
	}
	return statement, condition, err
}

// call calls a function that does something to every item of value.
func call(function, value, with string, item *schema, direction direction) (string, error) {
	each, err := direction.function(item)
	return fmt.Sprintf("%s(%s, %s, %s)", function, value, with, each), err
}

// direction is reading or writing.
type direction struct {
	verb      string // of the generated methods
	functions string // how the functions of strictjson begin
	parameter string // the reader or writer
	address   string // of what lists and maps are passed by
}

var (
	reads  = direction{verb: "read", functions: "strictjson.Read", parameter: "r *strictjson.Reader"}
	writes = direction{verb: "write", functions: "strictjson.Write", parameter: "w *strictjson.Writer", address: "*"}
)

// function is a Go function that reads or writes one value of a schema.
func (d direction) function(f *schema) (string, error) {
	if f.Ref != "" {
		return "(*" + refName(f.Ref) + ")." + d.verb, nil
	}
	inner, list := f.Items, "List"
	if f.Type == "object" {
		inner, list = f.Additional, "Map"
	}
	if f.Type != "array" && f.Type != "object" {
		return d.functions + scalar(f), nil
	}
	t, err := goType(f)
	if err != nil {
		return "", err
	}
	body, err := call(d.functions+list, d.address+"v", d.parameter[:1], inner, d)
	return fmt.Sprintf("func(v *%s, %s) { %s }", t, d.parameter, body), err
}

// scalar names what reads and writes a value that is neither list nor map; goType
// has refused all others.
func scalar(f *schema) string {
	switch {
	case f.Format == "date-time":
		return "Time"
	case f.Format == "go-duration":
		return "Duration"
	case f.Type == "":
		return "Any"
	}
	return strings.ToUpper(f.Type[:1]) + f.Type[1:]
}

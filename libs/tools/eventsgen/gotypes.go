package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/freshet-io/freshet/libs/tools/goname"
)

func refName(ref string) string {
	return goname.Of(strings.TrimSuffix(filepath.Base(ref), ".json"))
}

func goType(s *schema) (string, error) {
	switch {
	case s.Ref != "":
		return refName(s.Ref), nil
	case s.Type == "string" && s.Format == "date-time":
		return "time.Time", nil
	case s.Type == "string" && s.Format == "go-duration":
		return "Duration", nil
	case s.Type == "string" && s.Format == "":
		return "string", nil
	case s.Type == "integer":
		return "int64", nil
	case s.Type == "number":
		return "float64", nil
	case s.Type == "boolean":
		return "bool", nil
	case s.Type == "array" && s.Items != nil:
		t, err := goType(s.Items)
		return "[]" + t, err
	case s.Type == "object" && s.Additional != nil && s.Properties == nil:
		t, err := goType(s.Additional)
		return "map[string]" + t, err
	case s.Type == "" && s.Enum == nil:
		return "any", nil
	}
	return "", fmt.Errorf("a %q of format %q has no Go type", s.Type, s.Format)
}

// byPointer reports whether an optional field needs a pointer to tell absent
// from zero.
func byPointer(t string) bool {
	return !strings.HasPrefix(t, "[]") && !strings.HasPrefix(t, "map[") && t != "any" && t != "string" && t != "bool"
}

func emitTypes(b *bytes.Buffer, c *catalogue) error {
	b.WriteString("import \"time\"\n\n")
	for _, path := range c.structs() {
		s := c.schemas[path]
		name := refName(path)
		fmt.Fprintf(b, "// %s: %s\ntype %s struct {\n", name, s.Description, name)
		for _, p := range s.order {
			t, err := goType(s.Properties[p])
			if err != nil {
				return fmt.Errorf("%s: %s: %w", path, p, err)
			}
			tag := p
			if !s.requires(p) {
				tag += ",omitempty"
				if byPointer(t) {
					t = "*" + t
				}
			}
			if d := s.Properties[p].Description; d != "" {
				fmt.Fprintf(b, "// %s\n", d)
			}
			fmt.Fprintf(b, "%s %s `json:%q`\n", goname.Of(p), t, tag)
		}
		b.WriteString("}\n\n")
		if err := emitValidate(b, name, s); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func emitValidate(b *bytes.Buffer, name string, s *schema) error {
	fmt.Fprintf(b, "func (v *%s) validate(c *check) {\n", name)
	for _, p := range s.order {
		g := checkGen{b: b}
		if err := g.field(s.Properties[p], "v."+goname.Of(p), strconv.Quote(p), !s.requires(p)); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	b.WriteString("}\n\n")
	return nil
}

// checkGen writes the checks of one property's value.
type checkGen struct {
	b     *bytes.Buffer
	depth int // of loops
}

// field checks a struct's field, which may be absent.
func (g checkGen) field(f *schema, field, path string, optional bool) error {
	t, err := goType(f)
	if err != nil {
		return err
	}
	switch {
	case optional && byPointer(t):
		value := field
		if f.Ref == "" {
			value = "*" + field
		}
		return g.guard(field+" != nil", f, value, path)
	case optional && t == "string":
		return g.guard(field+` != ""`, f, field, path)
	case optional && f.MinItems != nil:
		return g.guard(field+" != nil", f, field, path)
	case !optional && (strings.HasPrefix(t, "[]") || strings.HasPrefix(t, "map[")):
		fmt.Fprintf(g.b, "c.present(%s, %s != nil)\n", path, field)
	}
	return g.value(f, field, path)
}

// guard puts a value's checks behind a condition, if it has any.
func (g checkGen) guard(condition string, f *schema, value, path string) error {
	var inner bytes.Buffer
	if err := (checkGen{b: &inner, depth: g.depth}).value(f, value, path); err != nil {
		return err
	}
	if inner.Len() > 0 {
		fmt.Fprintf(g.b, "if %s {\n%s}\n", condition, inner.String())
	}
	return nil
}

func (g checkGen) value(f *schema, value, path string) error {
	t, err := goType(f)
	if err != nil {
		return err
	}
	switch {
	case f.Ref != "":
		fmt.Fprintf(g.b, "%s.validate(c.at(%s))\n", value, path)
		return nil
	case t == "string":
		return g.text(f, value, path)
	case t == "int64":
		return g.integer(f, value, path)
	case t == "float64":
		fmt.Fprintf(g.b, "c.finite(%s, %s)\n", path, value)
		if f.Minimum != nil || f.Maximum != nil {
			fmt.Fprintf(g.b, "c.within(%s, %s, %s, %s)\n", path, value, bound(f.Minimum, "-highest"), bound(f.Maximum, "highest"))
		}
		return nil
	case t == "time.Time":
		fmt.Fprintf(g.b, "c.time(%s, %s)\n", path, value)
		return nil
	case strings.HasPrefix(t, "[]"):
		if f.MinItems != nil || f.MaxItems != nil {
			fmt.Fprintf(g.b, "c.items(%s, len(%s), %s, %s)\n", path, value, count(f.MinItems, "0"), count(f.MaxItems, "-1"))
		}
		i := fmt.Sprintf("i%d", g.depth)
		return g.loop("for "+i+" := range "+value, f.Items, value+"["+i+"]", fmt.Sprintf("c.index(%s, %s)", path, i))
	case strings.HasPrefix(t, "map["):
		k, x := fmt.Sprintf("k%d", g.depth), fmt.Sprintf("x%d", g.depth)
		return g.loop("for "+k+", "+x+" := range "+value, f.Additional, x, fmt.Sprintf("c.key(%s, %s)", path, k))
	}
	return nil // any, bool and Duration are checked by their types
}

func (g checkGen) loop(head string, f *schema, value, path string) error {
	var inner bytes.Buffer
	if err := (checkGen{b: &inner, depth: g.depth + 1}).value(f, value, path); err != nil {
		return err
	}
	if inner.Len() > 0 {
		fmt.Fprintf(g.b, "%s {\n%s}\n", head, inner.String())
	}
	return nil
}

// checkers are the methods of check for the patterns that contracts use.
var checkers = map[string]string{
	"^[a-z0-9][a-z0-9_.-]{0,62}$": "name",
	"^sha256:[0-9a-f]{64}$":       "digest",
	"^[0-9a-f]{40,64}$":           "revision",
}

func (g checkGen) text(f *schema, value, path string) error {
	switch {
	case f.Enum != nil:
		fmt.Fprintf(g.b, "c.oneOf(%s, %s", path, value)
		for _, e := range f.Enum {
			fmt.Fprintf(g.b, ", %q", e)
		}
		g.b.WriteString(")\n")
	case f.Pattern != "":
		checker, ok := checkers[f.Pattern]
		if !ok || f.MinLength != nil || f.MaxLength != nil {
			return fmt.Errorf("the pattern %q has no checker, or lengths beside it", f.Pattern)
		}
		fmt.Fprintf(g.b, "c.%s(%s, %s)\n", checker, path, value)
	default:
		fmt.Fprintf(g.b, "c.length(%s, %s, %s, %s)\n", path, value, count(f.MinLength, "0"), count(f.MaxLength, "-1"))
	}
	return nil
}

func (g checkGen) integer(f *schema, value, path string) error {
	if f.Minimum != nil {
		fmt.Fprintf(g.b, "c.atLeast(%s, %s, %d)\n", path, value, int64(*f.Minimum))
	}
	if f.Maximum != nil {
		fmt.Fprintf(g.b, "c.atMost(%s, %s, %d)\n", path, value, int64(*f.Maximum))
	}
	return nil
}

func bound(v *float64, none string) string {
	if v == nil {
		return none
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

func count(v *int, none string) string {
	if v == nil {
		return none
	}
	return strconv.Itoa(*v)
}

package main

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// compare lists every change that breaks a reader, sorted.
func compare(old, now *contractSet) []string {
	var breaks []string
	for typ, kind := range old.kinds {
		switch got, ok := now.kinds[typ]; {
		case !ok:
			breaks = append(breaks, fmt.Sprintf("channels.yaml: %s is gone, and the log holds events of it", typ))
		case got != kind:
			breaks = append(breaks, fmt.Sprintf("channels.yaml: %s was %q and is %q", typ, kind, got))
		}
	}
	for path, schema := range old.schemas {
		if now.schemas[path] == nil {
			breaks = append(breaks, path+": is gone")
			continue
		}
		c := comparison{path: path}
		if strings.HasPrefix(path, "spec/") {
			c.inputOnly = true
		}
		c.schema("", schema, now.schemas[path])
		breaks = append(breaks, c.breaks...)
	}
	sort.Strings(breaks)
	return breaks
}

// comparison compares one schema. inputOnly is for what users write and only the
// newest release reads: accepting more is fine there.
type comparison struct {
	path      string
	inputOnly bool
	breaks    []string
}

func (c *comparison) fail(at, format string, args ...any) {
	c.breaks = append(c.breaks, fmt.Sprintf("%s: %s %s", c.path, strings.TrimPrefix(at, "."), fmt.Sprintf(format, args...)))
}

// constants may not change at all; describing words may.
var constants = []string{"type", "format", "pattern", "$ref", "const", "uniqueItems", "oneOf", "anyOf", "allOf", "prefixItems", "propertyNames",
	"dependentRequired"}

func (c *comparison) schema(at string, old, now map[string]any) {
	for _, k := range constants {
		if o, n := fmt.Sprint(old[k]), fmt.Sprint(now[k]); o != n {
			c.fail(at, "had %s %s and has %s", k, o, n)
		}
	}
	c.bound(at, old, now, "minimum", 1)
	c.bound(at, old, now, "minLength", 1)
	c.bound(at, old, now, "minItems", 1)
	c.bound(at, old, now, "minProperties", 1)
	c.bound(at, old, now, "maximum", -1)
	c.bound(at, old, now, "maxLength", -1)
	c.bound(at, old, now, "maxItems", -1)
	c.enum(at, old, now)
	c.required(at, old, now)
	c.properties(at, old, now, "properties")
	c.properties(at, old, now, "$defs")
	for _, k := range []string{"items", "additionalProperties"} {
		o, oldIs := old[k].(map[string]any)
		n, nowIs := now[k].(map[string]any)
		switch {
		case oldIs && nowIs:
			c.schema(at+"."+k, o, n)
		case oldIs != nowIs || fmt.Sprint(old[k]) != fmt.Sprint(now[k]):
			c.fail(at, "had %s %v and has %v", k, old[k], now[k])
		}
	}
}

// bound: tighter refuses old events, looser writes what old readers refuse.
func (c *comparison) bound(at string, old, now map[string]any, keyword string, tighter float64) {
	o, had := old[keyword].(float64)
	n, has := now[keyword].(float64)
	switch {
	case !had && !has || had && has && o == n:
	case !had || had && has && (n-o)*tighter > 0:
		c.fail(at, "has a tighter %s: events of the log may breach it", keyword)
	case !c.inputOnly:
		c.fail(at, "has a looser %s: old readers refuse what it allows", keyword)
	}
}

func (c *comparison) enum(at string, old, now map[string]any) {
	o, had := old["enum"].([]any)
	n, has := now["enum"].([]any)
	if had != has {
		c.fail(at, "gained or lost its enumeration")
		return
	}
	for _, v := range o {
		if !slices.Contains(n, v) {
			c.fail(at, "no longer allows %v, which events of the log may have", v)
		}
	}
	for _, v := range n {
		if !slices.Contains(o, v) && !c.inputOnly {
			c.fail(at, "allows %v, which old readers refuse", v)
		}
	}
}

func (c *comparison) required(at string, old, now map[string]any) {
	o, _ := old["required"].([]any)
	n, _ := now["required"].([]any)
	for _, v := range n {
		if !slices.Contains(o, v) {
			c.fail(at, "requires %v, which events of the log may lack", v)
		}
	}
	for _, v := range o {
		if !slices.Contains(n, v) && !c.inputOnly {
			c.fail(at, "no longer requires %v, without which old readers refuse an event", v)
		}
	}
}

func (c *comparison) properties(at string, old, now map[string]any, keyword string) {
	o, _ := old[keyword].(map[string]any)
	n, _ := now[keyword].(map[string]any)
	for name, v := range o {
		next, ok := n[name].(map[string]any)
		if !ok {
			c.fail(at, "lost %s", name)
			continue
		}
		if was, ok := v.(map[string]any); ok {
			c.schema(at+"."+name, was, next)
		}
	}
}

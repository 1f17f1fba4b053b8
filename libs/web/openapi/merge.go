package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A Document is one that was read, with the parts that Merge joins.
type Document map[string]any

// Read reads a document.
func Read(raw []byte) (Document, error) {
	var d Document
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("an OpenAPI document: %w", err)
	}
	return d, nil
}

// Merge joins documents that describe parts of one suite.
func Merge(parts ...Document) (Document, error) {
	if len(parts) == 0 {
		return Document{}, nil
	}
	out := maps.Clone(parts[0])
	paths, schemas, tags := map[string]any{}, map[string]any{}, []any{}
	for _, part := range parts {
		for path, item := range object(part, "paths") {
			known, _ := paths[path].(map[string]any)
			if known == nil {
				known = map[string]any{}
				paths[path] = known
			}
			operations, _ := item.(map[string]any)
			for method, operation := range operations {
				if _, twice := known[method]; twice {
					return nil, fmt.Errorf("%s %s is described twice", method, path)
				}
				known[method] = operation
			}
		}
		for name, schema := range object(object(part, "components"), "schemas") {
			if other, known := schemas[name]; known && !reflect.DeepEqual(other, schema) {
				return nil, fmt.Errorf("there are two schemas %s", name)
			}
			schemas[name] = schema
		}
		more, _ := part["tags"].([]any)
		tags = append(tags, more...)
	}
	components := maps.Clone(object(out, "components"))
	components["schemas"] = schemas
	slices.SortFunc(tags, func(a, b any) int { return strings.Compare(tagName(a), tagName(b)) })
	out["paths"], out["components"], out["tags"] = paths, components, tags
	return out, nil
}

func object(d map[string]any, name string) map[string]any {
	v, _ := d[name].(map[string]any)
	return v
}

func tagName(tag any) string {
	t, _ := tag.(map[string]any)
	return text(t["name"])
}

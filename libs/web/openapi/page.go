package openapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"
)

//go:embed page.html
var source string

var page = template.Must(template.New("page").Parse(source))

type operation struct {
	Method, Path, ID, Summary, Role, Tag string
	Parameters                           []any
	Body, Answer                         []body
}

type body struct{ Media, Schema string }

type section struct {
	Tag        string
	Operations []operation
}

// Page is a document as one HTML page, which loads nothing.
func Page(d Document) ([]byte, error) {
	var sections []section
	for path, item := range object(d, "paths") {
		methods, _ := item.(map[string]any)
		for method, v := range methods {
			op, _ := v.(map[string]any)
			tags, _ := op["tags"].([]any)
			one := operation{Method: strings.ToUpper(method), Path: path, ID: text(op["operationId"]), Summary: text(op["summary"]),
				Role: text(op["x-role"]), Tag: text(first(tags))}
			one.Parameters, _ = op["parameters"].([]any)
			one.Body = bodies(object(op, "requestBody"))
			one.Answer = bodies(object(object(op, "responses"), "200"))
			i := slices.IndexFunc(sections, func(s section) bool { return s.Tag == one.Tag })
			if i < 0 {
				i, sections = len(sections), append(sections, section{Tag: one.Tag})
			}
			sections[i].Operations = append(sections[i].Operations, one)
		}
	}
	slices.SortFunc(sections, func(a, b section) int { return strings.Compare(a.Tag, b.Tag) })
	for _, s := range sections {
		slices.SortFunc(s.Operations, func(a, b operation) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	}
	schemas := map[string]string{}
	for name, schema := range object(object(d, "components"), "schemas") {
		schemas[name] = written(schema)
	}
	var out bytes.Buffer
	err := page.Execute(&out, map[string]any{"Sections": sections, "Schemas": schemas})
	return out.Bytes(), err
}

func bodies(of map[string]any) []body {
	var all []body
	for media, v := range object(of, "content") {
		content, _ := v.(map[string]any)
		all = append(all, body{media, written(content["schema"])})
	}
	slices.SortFunc(all, func(a, b body) int { return strings.Compare(a.Media, b.Media) })
	return all
}

func first(list []any) any {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// written is a schema for people: the name of what it refers to, or its JSON.
func written(schema any) string {
	if m, ok := schema.(map[string]any); ok && m["$ref"] != nil {
		return strings.TrimPrefix(text(m["$ref"]), schemas)
	}
	b, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(b), schemas, "")
}

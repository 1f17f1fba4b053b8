// Package openapi describes routes as an OpenAPI 3.1 document: what a mux enforces and
// serves is what the document says, as both are made of the same declarations.
//
// # What it guarantees
//
// Every declared route is in the document, with its role (x-role), its parameters, and
// schemas made of the Go types that are encoded and decoded. Documents of several services
// merge into one: their schemas have the service's name before theirs.
//
// # How it fails
//
// Merge returns an error where two documents describe one route, or one schema differently.
package openapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/danielgtaylor/huma/v2"
	"github.com/freshet-io/freshet/libs/web"
)

const (
	schemas   = "#/components/schemas/"
	responses = "#/components/responses/"
)

// Describe returns the document of one service's routes.
func Describe(service string, routes []web.Route) *huma.OpenAPI {
	d := &describer{service: service, registry: huma.NewMapRegistry(schemas, namer())}
	d.registry.RegisterTypeAlias(reflect.TypeFor[event.Event](), reflect.TypeFor[map[string]any]()) // which encodes itself
	out := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Freshet", Version: "1",
			Description: "What a suite answers over HTTP. Each operation names the role that it needs (x-role).",
			Contact:     &huma.Contact{Name: "Freshet", URL: "https://github.com/freshet-io/freshet"},
			License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Servers:  []*huma.Server{{URL: "http://127.0.0.1:8080", Description: "a suite on this machine"}},
		Security: []map[string][]string{{"token": {}}, {"session": {}}},
		Tags:     []*huma.Tag{{Name: service, Description: "Served by " + service}},
		Paths:    map[string]*huma.PathItem{},
		Components: &huma.Components{
			Schemas: d.registry,
			Responses: map[string]*huma.Response{
				"Unauthorized": d.problem("Asked without the token"),
				"Forbidden":    d.problem("A page of another origin or host asks, or the role does not suffice"),
				"Problem":      d.problem("What is wrong"),
			},
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"token":   {Type: "http", Scheme: "bearer", Description: "the content of the data directory's file token"},
				"session": {Type: "apiKey", In: "cookie", Name: "freshet_session", Description: "a browser's, begun with a link of freshet console"},
			},
		},
	}
	for _, route := range routes {
		method, path, _ := strings.Cut(route.Pattern, " ")
		path = Path(path)
		item := out.Paths[path]
		if item == nil {
			item = &huma.PathItem{}
			out.Paths[path] = item
		}
		put(item, method, d.operation(route, method, path))
	}
	for _, schema := range d.registry.Map() { // a newer version may answer more
		if schema.AdditionalProperties == false {
			schema.AdditionalProperties = nil
		}
	}
	return out
}

// Path is the path that describes a pattern's: one with a slash at its end is described
// by the same path without it.
func Path(pattern string) string {
	path := strings.TrimSuffix(pattern, "{$}")
	if path == "/" {
		return path
	}
	return strings.TrimSuffix(path, "/")
}

type describer struct {
	service  string
	registry huma.Registry
}

var parameter = regexp.MustCompile(`\{([^}]+)\}`)

func (d *describer) operation(route web.Route, method, path string) *huma.Operation {
	op := &huma.Operation{
		OperationID: identifier(method, path), Summary: route.Summary, Description: route.Summary + ".", Tags: []string{d.service},
		Extensions: map[string]any{"x-role": string(route.Role)},
		Responses: map[string]*huma.Response{
			"200":     d.answer(route),
			"403":     {Ref: responses + "Forbidden"},
			"default": {Ref: responses + "Problem"},
		},
	}
	if route.Role == web.Anyone {
		op.Security = []map[string][]string{{}}
	} else {
		op.Responses["401"] = &huma.Response{Ref: responses + "Unauthorized"}
	}
	for _, m := range parameter.FindAllStringSubmatch(path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: m[1], In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	for _, p := range route.Query {
		op.Parameters = append(op.Parameters, &huma.Param{Name: p.Name, In: "query", Description: p.Summary, Schema: d.parameter(p)})
	}
	if route.Body != nil {
		op.RequestBody = &huma.RequestBody{Required: true, Content: d.content(route.Body, "application/json")}
	}
	return op
}

func (d *describer) parameter(p web.Parameter) *huma.Schema {
	if p.Value == nil {
		return &huma.Schema{Type: huma.TypeString}
	}
	return huma.SchemaFromType(d.registry, reflect.TypeOf(p.Value))
}

func (d *describer) answer(route web.Route) *huma.Response {
	r := &huma.Response{Description: "The answer"}
	if route.Answer != nil {
		r.Content = d.content(route.Answer, "application/json")
	}
	return r
}

func (d *describer) problem(of string) *huma.Response {
	return &huma.Response{Description: of, Content: d.content(web.ProblemDocument{}, "application/problem+json")}
}

// content is a body of a type, or of a media type that has no schema.
func (d *describer) content(v any, mediaType string) map[string]*huma.MediaType {
	if media, is := v.(web.Media); is {
		schema := &huma.Schema{}
		if strings.HasPrefix(string(media), "text/") {
			schema.Type = huma.TypeString
		}
		return map[string]*huma.MediaType{string(media): {Schema: schema}}
	}
	return map[string]*huma.MediaType{mediaType: {Schema: d.registry.Schema(reflect.TypeOf(v), true, "Body")}}
}

// identifier names an operation after its method and path: getModelsModelVersions.
func identifier(method, path string) string {
	out := strings.ToLower(method)
	for _, word := range strings.FieldsFunc(path, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if word != "v1" {
			out += title(word)
		}
	}
	return out
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func put(item *huma.PathItem, method string, op *huma.Operation) {
	switch method {
	case http.MethodGet:
		item.Get = op
	case http.MethodPut:
		item.Put = op
	case http.MethodPost:
		item.Post = op
	case http.MethodDelete:
		item.Delete = op
	case http.MethodPatch:
		item.Patch = op
	}
}

var generic = regexp.MustCompile(`^(\w+)\[(?:.*/)?([\w-]+)\.(\w+)\]$`)

// namer names a service's types after it, Items of them as a list, and everybody's types
// as they are named.
func namer() func(reflect.Type, string) string {
	taken := map[string]reflect.Type{}
	return func(t reflect.Type, hint string) string {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		name, owner := t.Name(), t.PkgPath()
		if m := generic.FindStringSubmatch(name); m != nil {
			owner, name = strings.TrimSuffix(strings.TrimPrefix(name, m[1]+"["), "]"), title(m[3])+"List"
		}
		if name == "" { // of no name, inside another
			return title(hint)
		}
		name = serviceOf(owner) + title(name)
		if other, ok := taken[name]; ok && other != t {
			parts := strings.Split(owner, "/")
			name = serviceOf(owner) + title(parts[len(parts)-1]) + title(t.Name())
		}
		taken[name] = t
		return name
	}
}

// serviceOf is the service whose package a path names, as a part of a name.
func serviceOf(path string) string {
	_, rest, ok := strings.Cut(path, "/freshet/services/")
	if !ok {
		return ""
	}
	service, _, _ := strings.Cut(rest, "/")
	out := ""
	for part := range strings.SplitSeq(service, "-") {
		out += title(part)
	}
	return out
}

// JSON is the document's, indented.
func JSON(doc any) ([]byte, error) {
	b, err := json.MarshalIndent(doc, "", "  ")
	return append(b, '\n'), err
}

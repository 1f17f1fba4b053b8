package tiltcheck

import (
	"fmt"
	"os"
	"path/filepath"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
	"go.yaml.in/yaml/v4"
)

// A Resource is a local_resource of a Tiltfile.
type Resource struct {
	Name         string
	Cmd          string
	ServeCmd     string
	Deps         []string
	Ignore       []string
	ResourceDeps []string
	Links        []string
	Labels       []string
	Probe        Probe
}

// A Probe says when a resource is ready: when GET of Path answers 2xx or 3xx.
type Probe struct {
	Port int
	Host string
	Path string
}

// Evaluate runs a repository's Tiltfile with the builtins that it uses, each
// checked as Tilt would check it. Settings stand in for tilt-settings.yaml.
func Evaluate(root string, settings map[string]any) ([]Resource, error) {
	e := &evaluation{root: root, settings: settings}
	_, err := e.exec("Tiltfile")
	return e.resources, err
}

type evaluation struct {
	root      string
	settings  map[string]any
	resources []Resource
}

func (e *evaluation) exec(file string) (starlark.StringDict, error) {
	thread := &starlark.Thread{Name: file, Load: func(_ *starlark.Thread, module string) (starlark.StringDict, error) {
		return e.exec(filepath.Clean(module))
	}}
	// Tilt's dialect: loops and conditions at the top level, globals set again.
	options := &syntax.FileOptions{TopLevelControl: true, GlobalReassign: true, Set: true}
	src, err := os.ReadFile(filepath.Join(e.root, file))
	if err != nil {
		return nil, err
	}
	return starlark.ExecFileOptions(options, thread, file, src, starlark.StringDict{
		"local_resource":  starlark.NewBuiltin("local_resource", e.localResource),
		"probe":           starlark.NewBuiltin("probe", probe),
		"http_get_action": starlark.NewBuiltin("http_get_action", httpGetAction),
		"link":            starlark.NewBuiltin("link", link),
		"read_yaml":       starlark.NewBuiltin("read_yaml", e.readYAML),
		"fail":            starlark.NewBuiltin("fail", fail),
	})
}

type builtin = *starlark.Builtin

func fail(_ *starlark.Thread, _ builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	text := ""
	for _, a := range args {
		if s, ok := starlark.AsString(a); ok {
			text += s
		}
	}
	return nil, fmt.Errorf("%s", text)
}

func (e *evaluation) readYAML(_ *starlark.Thread, b builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var path string
	var fallback starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "paths", &path, "default?", &fallback); err != nil {
		return nil, err
	}
	if path == "tilt-settings.yaml" && e.settings != nil {
		return toStarlark(e.settings)
	}
	raw, err := os.ReadFile(filepath.Join(e.root, path))
	if os.IsNotExist(err) && fallback != nil {
		return fallback, nil
	}
	if err != nil {
		return nil, err
	}
	var v any
	if err := yaml.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return toStarlark(v)
}

func toStarlark(v any) (starlark.Value, error) {
	switch x := v.(type) {
	case nil:
		return starlark.None, nil
	case string:
		return starlark.String(x), nil
	case bool:
		return starlark.Bool(x), nil
	case int:
		return starlark.MakeInt(x), nil
	case []string:
		var list []starlark.Value
		for _, s := range x {
			list = append(list, starlark.String(s))
		}
		return starlark.NewList(list), nil
	case []any:
		var list []starlark.Value
		for _, y := range x {
			s, err := toStarlark(y)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		return starlark.NewList(list), nil
	case map[string]any:
		d := starlark.NewDict(len(x))
		for k, y := range x {
			s, err := toStarlark(y)
			if err != nil {
				return nil, err
			}
			if err := d.SetKey(starlark.String(k), s); err != nil {
				return nil, err
			}
		}
		return d, nil
	}
	return nil, fmt.Errorf("a %T in YAML", v)
}

func httpGetAction(_ *starlark.Thread, b builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var port int
	host, scheme, path := "localhost", "http", "/"
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "port", &port, "host?", &host, "scheme?", &scheme, "path?", &path); err != nil {
		return nil, err
	}
	if port < 1 || port > 65535 {
		return nil, fmt.Errorf("%s: port %d", b.Name(), port)
	}
	return starlarkstruct.FromStringDict(starlark.String("http_get"), starlark.StringDict{
		"port": starlark.MakeInt(port), "host": starlark.String(host), "path": starlark.String(path),
	}), nil
}

func probe(_ *starlark.Thread, b builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var initial, timeout, period, success, failure int
	var get starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "initial_delay_secs?", &initial, "timeout_secs?", &timeout,
		"period_secs?", &period, "success_threshold?", &success, "failure_threshold?", &failure, "http_get?", &get); err != nil {
		return nil, err
	}
	if get == nil {
		return nil, fmt.Errorf("%s: says nothing to ask", b.Name())
	}
	return get, nil
}

func link(_ *starlark.Thread, b builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var url, name string
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "url", &url, "name?", &name); err != nil {
		return nil, err
	}
	return starlark.String(url), nil
}

func (e *evaluation) localResource(_ *starlark.Thread, b builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var r Resource
	var deps, ignore, resourceDeps, links, labels *starlark.List
	var ready starlark.Value
	var parallel bool
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &r.Name, "cmd?", &r.Cmd, "deps?", &deps, "ignore?", &ignore,
		"serve_cmd?", &r.ServeCmd, "resource_deps?", &resourceDeps, "allow_parallel?", &parallel, "readiness_probe?", &ready,
		"links?", &links, "labels?", &labels); err != nil {
		return nil, err
	}
	for _, other := range e.resources {
		if other.Name == r.Name {
			return nil, fmt.Errorf("%s: %q is declared twice", b.Name(), r.Name)
		}
	}
	r.Deps, r.Ignore, r.ResourceDeps, r.Links, r.Labels = texts(deps), texts(ignore), texts(resourceDeps), texts(links), texts(labels)
	if s, ok := ready.(*starlarkstruct.Struct); ok {
		r.Probe = Probe{Port: number(s, "port"), Host: text(s, "host"), Path: text(s, "path")}
	}
	e.resources = append(e.resources, r)
	return starlark.None, nil
}

func texts(l *starlark.List) []string {
	if l == nil {
		return nil
	}
	var out []string
	for i := range l.Len() {
		s, _ := starlark.AsString(l.Index(i))
		out = append(out, s)
	}
	return out
}

func text(s *starlarkstruct.Struct, name string) string {
	v, err := s.Attr(name)
	if err != nil {
		return ""
	}
	t, _ := starlark.AsString(v)
	return t
}

func number(s *starlarkstruct.Struct, name string) int {
	v, err := s.Attr(name)
	if err != nil {
		return 0
	}
	n, err := starlark.AsInt32(v)
	if err != nil {
		return 0
	}
	return n
}

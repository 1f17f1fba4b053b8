package main

import (
	"bytes"
	"embed"
	"fmt"
	"go/format"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/freshet-io/freshet/libs/tools/goname"
	"github.com/freshet-io/freshet/libs/tools/services"
	"golang.org/x/mod/modfile"
)

//go:embed templates
var templates embed.FS

// names are what templates call a service.
type names struct {
	Name    string // price-list
	Package string // pricelist
	Event   string // price_list, as its events begin
	Go      string // PriceList, as their payloads begin
	Env     string // PRICE_LIST
	Schema  string // price_list, of PostgreSQL
}

func namesOf(service string) names {
	under := strings.ReplaceAll(service, "-", "_")
	return names{service, services.Service{Name: service}.Package(), under, goname.Of(under), strings.ToUpper(under), under}
}

// own are the event types that the template of a service has beside those which every
// service has.
var own = []event{
	{name: "requested", kind: "fact", subject: "item", reads: true},
	{name: "decided", kind: "decision", subject: "item"},
	{name: "completed", kind: "fact", subject: "item", reads: true},
}

// inAll are the event types that every service has. The log makes and handles them.
var inAll = []event{
	{name: "service_activated", kind: "fact", subject: "service"},
	{name: "event_parked", kind: "decision", subject: "event"},
	{name: "event_retried", kind: "fact", subject: "event"},
	{name: "event_discarded", kind: "fact", subject: "event"},
}

// pattern is the service whose requirements of other modules a new one begins with: what
// it does not need, go mod tidy takes away.
const pattern = "registry"

func addService(root, name, owner string, out io.Writer) error {
	list, err := services.Read(root)
	if err != nil {
		return err
	}
	if err := services.CheckName(name, list); err != nil {
		return fmt.Errorf("the name %q: %w", name, err)
	}
	if err := services.CheckOwner(owner); err != nil {
		return err
	}
	for _, dir := range []string{"services/" + name, "contracts/" + name} {
		if _, err := os.Stat(filepath.Join(root, dir)); err == nil {
			return fmt.Errorf("the directory %s is there already: choose another name, or remove it", dir)
		}
	}
	n := namesOf(name)
	types := make([]event, 0, len(own)+len(inAll))
	for _, e := range own {
		e.name = n.Event + "_" + e.name
		if err := free(root, e.name); err != nil {
			return err
		}
		types = append(types, e)
	}
	if err := render(root, "templates/service", "services/"+name, n); err != nil {
		return err
	}
	for i, e := range own {
		if err := contract(root, "templates/contracts/"+e.name, name, types[i].name, n); err != nil {
			return err
		}
	}
	for _, e := range inAll {
		if err := contract(root, "templates/shared", name, e.name, struct{ Service, Name string }{name, e.name}); err != nil {
			return err
		}
	}
	if err := addChannels(root, name, append(types, inAll...)); err != nil {
		return err
	}
	if err := services.Add(root, services.Service{Name: name, Owner: owner, Colour: services.NextColour(list)}); err != nil {
		return err
	}
	if err := module(root, name); err != nil {
		return err
	}
	if err := generate(root, name); err != nil {
		return err
	}
	fmt.Fprintf(out, `services/%[1]s     the service: begin with doc.go
contracts/%[1]s    its event types, with golden payloads
and what follows from services/services.yaml and contracts/channels.yaml, by make generate

make test           runs its tests with all others
./bin/freshet up    after make build, runs it: POST /v1/%[1]s/requests
`, name)
	return nil
}

// render writes a tree of templates. NAME in a path is the service's name.
func render(root, from, to string, n names) error {
	return fs.WalkDir(templates, from, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := execute(file, n)
		if err != nil {
			return err
		}
		target := strings.TrimSuffix(strings.ReplaceAll(strings.TrimPrefix(file, from), "NAME", n.Name), ".tmpl")
		return create(filepath.Join(root, to, target), text)
	})
}

func execute(file string, data any) ([]byte, error) {
	t, err := template.ParseFS(templates, file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Option("missingkey=error").Execute(&b, data); err != nil {
		return nil, err
	}
	if path.Ext(strings.TrimSuffix(file, ".tmpl")) != ".go" {
		return b.Bytes(), nil
	}
	text, err := format.Source(b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return text, nil
}

func create(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// module gives a service a go.mod with the versions that its siblings have.
func module(root, name string) error {
	dir := filepath.Join(root, "services", name)
	raw, err := os.ReadFile(filepath.Join(root, "services", pattern, "go.mod"))
	if err != nil {
		return err
	}
	f, err := modfile.Parse("go.mod", raw, nil)
	if err != nil {
		return err
	}
	if err := f.AddModuleStmt("github.com/freshet-io/freshet/services/" + name); err != nil {
		return err
	}
	if raw, err = f.Format(); err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(root, "services", pattern, "go.sum"))
	if err != nil {
		return err
	}
	if err := create(filepath.Join(dir, "go.mod"), raw); err != nil {
		return err
	}
	return create(filepath.Join(dir, "go.sum"), sums)
}

// generate writes what follows, and tidies the modules whose requirements changed.
func generate(root, name string) error {
	if err := command(root, false, "make", "--no-print-directory", "generate"); err != nil {
		return err
	}
	for _, dir := range []string{"services/" + name, "cmd/freshet"} {
		if err := command(filepath.Join(root, dir), true, "go", "mod", "tidy"); err != nil {
			return err
		}
	}
	return nil
}

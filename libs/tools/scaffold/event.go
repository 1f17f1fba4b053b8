package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/freshet-io/freshet/libs/tools/goname"
	"github.com/freshet-io/freshet/libs/tools/services"
	"go.yaml.in/yaml/v4"
)

// event is an event type that is added.
type event struct {
	name, kind, subject string
	reads               bool // its owner consumes it, as is to be said of facts only
}

var eventName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)+$`)

// longestEvent name: it is a table's name, too.
const longestEvent = 48

// observers read every event.
var observers = []string{"audit", "console"}

func addEvent(root, service, name, kind string, out io.Writer) error {
	list, err := services.Read(root)
	if err != nil {
		return err
	}
	if err := known(service, list); err != nil {
		return err
	}
	switch {
	case !eventName.MatchString(name):
		return fmt.Errorf("the name %q: an event is named in the past tense, by two or more lower-case words that _ joins, as price_changed is", name)
	case len(name) > longestEvent:
		return fmt.Errorf("the name %q: it may have at most %d characters, and has %d", name, longestEvent, len(name))
	case kind != "fact" && kind != "decision":
		return fmt.Errorf("the kind %q: an event is a fact (seen or done, recorded by an edge or an effect) or a decision (of decide)", kind)
	}
	if err := free(root, name); err != nil {
		return err
	}
	p := place{Service: service, Name: name, Table: name, Go: goname.Of(name), Func: unexported(goname.Of(name)), Sentence: sentence(name)}
	edits, err := p.edits(root)
	if err != nil {
		return err
	}
	e := event{name: name, kind: kind, subject: "item", reads: kind == "fact" && edits != nil}
	if err := contract(root, "templates/event", service, name, p); err != nil {
		return err
	}
	if err := addChannels(root, service, []event{e}); err != nil {
		return err
	}
	for file, text := range edits {
		if err := create(filepath.Join(root, file), text); err != nil {
			return err
		}
	}
	if err := command(root, false, "make", "--no-print-directory", "generate"); err != nil {
		return err
	}
	fmt.Fprintf(out, `contracts/%[1]s/v1/%[2]s.json    the contract: say what it means, and which fields it has
contracts/%[1]s/v1/testdata/%[2]s/    golden payloads
`, service, name)
	if edits != nil {
		fmt.Fprintf(out, "services/%[1]s/internal/state/%[2]s.go    what it changes; the table is in tables.go, and FoldVersion is raised\n", service, name)
	} else {
		fmt.Fprintf(out, "%s applies every event, or keeps its fold in another way: nothing is changed there\n", service)
	}
	fmt.Fprintf(out, "\nmake generate        after every change of the contract\nmake golden-digests  after FoldVersion was raised\n")
	return nil
}

func known(service string, list []services.Service) error {
	var all []string
	for _, s := range list {
		if s.Name == service {
			return nil
		}
		all = append(all, s.Name)
	}
	return fmt.Errorf("there is no service %q: choose from %s", service, strings.Join(all, ", "))
}

// channels are the event types of channels.yaml.
func channels(root string) (map[string]yaml.Node, error) {
	raw, err := os.ReadFile(filepath.Join(root, "contracts", "channels.yaml"))
	if err != nil {
		return nil, err
	}
	var doc struct {
		Events map[string]yaml.Node `yaml:"events"`
	}
	return doc.Events, yaml.Unmarshal(raw, &doc)
}

// free says why an event cannot have a name. Its Go type is named by that alone, so that
// no two services and no shared type may have the same.
func free(root, name string) error {
	all, err := channels(root)
	if err != nil {
		return err
	}
	for typ := range all {
		if goname.Of(typ[strings.LastIndexByte(typ, '.')+1:]) == goname.Of(name) {
			return fmt.Errorf("the event type %s is there already: choose another name than %s", typ, name)
		}
	}
	taken, err := filepath.Glob(filepath.Join(root, "contracts", "*", "v1", "*.json"))
	if err != nil {
		return err
	}
	for _, file := range taken {
		if goname.Of(strings.TrimSuffix(filepath.Base(file), ".json")) == goname.Of(name) {
			return fmt.Errorf("%s is there already: choose another name than %s", file, name)
		}
	}
	return nil
}

// contract writes an event type's schema, and its golden payloads.
func contract(root, from, service, name string, data any) error {
	dir := filepath.Join(root, "contracts", service, "v1")
	return fs.WalkDir(templates, from, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if path.Ext(file) == ".tmpl" {
			text, err := execute(file, data)
			if err != nil {
				return err
			}
			return create(filepath.Join(dir, name+".json"), text)
		}
		raw, err := templates.ReadFile(file)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return create(filepath.Join(dir, "testdata", name, path.Base(file)), b.Bytes())
	})
}

// addChannels says who owns event types and who reads them.
func addChannels(root, service string, types []event) error {
	file := filepath.Join(root, "contracts", "channels.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	b := bytes.NewBuffer(append(bytes.TrimRight(raw, "\n"), '\n'))
	for _, e := range types {
		var consumers []string
		if e.reads {
			consumers = append(consumers, service)
		}
		for _, o := range observers {
			if o != service || e.kind == "fact" && !e.reads { // its own decisions it need not be told
				consumers = append(consumers, o)
			}
		}
		fmt.Fprintf(b, "  io.freshet.%[1]s.v1.%[2]s:\n    owner: %[1]s\n    kind: %[3]s\n    subject: %[4]s\n    consumers: [%[5]s]\n",
			service, e.name, e.kind, e.subject, strings.Join(consumers, ", "))
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// place is where an event type goes in its owner's fold.
type place struct {
	Service, Name, Table, Go, Func, Sentence string
}

var (
	version  = regexp.MustCompile(`(?m)^const FoldVersion = (\d+)$`)
	tables   = regexp.MustCompile("(?ms)^const Tables = `\n.*?\n`\n")
	register = regexp.MustCompile(`(?ms)^func Register\(f \*eventlog\.Fold\) \{\n(\teventlog\.Apply\([^\n]*\n)+`)
)

// edits are the files of the owner's fold with a table and an apply more, by path. There
// are none where the fold is not written as most are.
func (p place) edits(root string) (map[string][]byte, error) {
	dir := path.Join("services", p.Service, "internal", "state")
	read := func(name string) ([]byte, error) {
		raw, err := os.ReadFile(filepath.Join(root, dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return raw, err
	}
	ddl, err1 := read("tables.go")
	apply, err2 := read("apply.go")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	was, inside, list := version.FindSubmatch(ddl), tables.FindIndex(ddl), register.FindIndex(apply)
	if was == nil || inside == nil || list == nil {
		return nil, nil
	}
	table, err := execute("templates/table.sql.tmpl", p)
	if err != nil {
		return nil, err
	}
	fn, err := execute("templates/apply.go.tmpl", p)
	if err != nil {
		return nil, err
	}
	end := inside[1] - len("`\n")
	ddl = bytes.Join([][]byte{ddl[:end], table, ddl[end:]}, nil)
	var n int
	if _, err := fmt.Sscan(string(was[1]), &n); err != nil {
		return nil, err
	}
	ddl = version.ReplaceAll(ddl, fmt.Appendf(nil, "const FoldVersion = %d", n+1))
	apply = bytes.Join([][]byte{apply[:list[1]], fmt.Appendf(nil, "\teventlog.Apply(f, %s)\n", p.Func), apply[list[1]:]}, nil)
	return map[string][]byte{dir + "/tables.go": ddl, dir + "/apply.go": apply, dir + "/" + p.Name + ".go": fn}, nil
}

// unexported makes a Go name that only its package sees: URLChanged is urlChanged.
func unexported(name string) string {
	upper := 0
	for upper < len(name) && name[upper] >= 'A' && name[upper] <= 'Z' {
		upper++
	}
	if upper > 1 && upper < len(name) {
		upper-- // the next word's
	}
	return strings.ToLower(name[:upper]) + name[upper:]
}

// sentence is what a contract's description begins as: price_changed is "Price changed."
func sentence(name string) string {
	words := strings.ReplaceAll(name, "_", " ")
	return strings.ToUpper(words[:1]) + words[1:] + "."
}

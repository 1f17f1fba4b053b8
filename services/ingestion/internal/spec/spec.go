package spec

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/freshet-io/freshet/events"
)

// SQL checks the syntax of SQL without running it.
type SQL interface {
	// Expression checks one scalar expression over a row.
	Expression(sql string) error
	// Query checks one SELECT.
	Query(sql string) error
}

// Known are definitions that other repositories of the namespace have: what a
// name may refer to beside what is defined here, and who owns it.
type Known struct {
	Datasets map[string]events.DatasetSpec
	Views    map[string]events.ViewSpec
	Owners   map[string]string // "dataset flights" → repository, of other repositories
}

// Options of reading.
type Options struct {
	SQL SQL // nil: SQL is not checked
	// Known makes references strict: a name that is neither here nor there is a
	// problem. Nil, as on a laptop that knows one repository only: a name is a
	// problem only where it looks like a slip of one defined here.
	Known *Known
}

// Definitions are what a revision defines. They count only where there are no
// problems.
type Definitions struct {
	Models   []events.ModelSpec
	Datasets []events.DatasetSpec
	Views    []events.ViewSpec
	Problems []events.Problem
}

// Relevant reports whether a path holds definitions.
func Relevant(name string) bool {
	dir, file := path.Split(name)
	ext := path.Ext(file)
	switch dir {
	case "":
		return file == "freshet.yaml" || file == "freshet.yml"
	case "datasets/", "features/":
		return ext == ".yaml" || ext == ".yml"
	}
	return false
}

// Files reads the definition files of a directory. Only regular files count: a
// symbolic link is reported, not followed.
func Files(dir fs.FS) (map[string][]byte, []events.Problem, error) {
	files := map[string][]byte{}
	var problems []events.Problem
	for _, d := range []string{".", "datasets", "features"} {
		entries, err := fs.ReadDir(dir, d)
		if err != nil {
			if d == "." {
				return nil, nil, fmt.Errorf("reading the directory: %w", err)
			}
			continue // neither folder is required
		}
		for _, e := range entries {
			name := path.Join(d, e.Name())
			if !Relevant(name) {
				continue
			}
			if !e.Type().IsRegular() {
				problems = append(problems, events.Problem{File: name, Line: 1, Message: "this is not a regular file", Fix: "put the definitions into the file itself"})
				continue
			}
			info, err := e.Info()
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
			if info.Size() > maxFile {
				problems = append(problems, events.Problem{File: name, Line: 1, Message: fmt.Sprintf("the file has %d bytes; at most %d are read", info.Size(),
					maxFile), Fix: "split it into several files"})
				continue
			}
			if files[name], err = fs.ReadFile(dir, name); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return files, problems, nil
}

// Parse reads definition files, by path.
func Parse(files map[string][]byte, o Options) Definitions {
	p := &parser{o: o, defined: map[string]place{}, views: map[string]events.ViewSpec{}, datasets: map[string]events.DatasetSpec{}}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		r := &reader{file: name, problems: &p.out.Problems}
		if path.Ext(name) == ".yml" {
			r.add(1, 0, "", "files that end in .yml are not read", "rename it to "+strings.TrimSuffix(name, ".yml")+".yaml")
			continue
		}
		before := len(p.out.Problems)
		docs := r.documents(files[name])
		if len(docs) == 0 && len(p.out.Problems) == before {
			r.add(1, 0, "", "the file defines nothing", "begin it with model:, view: or dataset:, or delete it")
		}
		for _, d := range docs {
			p.document(d)
		}
	}
	if len(files) == 0 {
		(&reader{file: "freshet.yaml", problems: &p.out.Problems}).add(1, 0, "", "there are no definitions", "add freshet.yaml, or a file in datasets/ or features/")
	}
	for _, check := range p.later {
		check()
	}
	slices.SortStableFunc(p.out.Problems, func(a, b events.Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return p.out
}

type place struct {
	file string
	line int
}

type parser struct {
	o        Options
	out      Definitions
	defined  map[string]place // "dataset flights" → where
	views    map[string]events.ViewSpec
	datasets map[string]events.DatasetSpec
	later    []func() // checks that need all definitions
}

var kinds = []string{"model", "view", "dataset"}

func (p *parser) document(v value) {
	n := v.node()
	entries, ok := value{r: &reader{file: v.r.file, problems: new([]events.Problem)}, n: n}.entries()
	if !ok {
		v.problem("the document is "+kindOf(n)+", not a mapping", "begin it with model:, view: or dataset:")
		return
	}
	var found []string
	for _, e := range entries {
		// A model has no key view or dataset of its own; a view has dataset.
		if contains(kinds, e.key) && !(e.key == "dataset" && contains(found, "view")) {
			found = append(found, e.key)
		}
	}
	if len(found) == 2 && found[0] == "dataset" && found[1] == "view" {
		found = found[1:] // a view that names its dataset first
	}
	switch {
	case len(found) == 0:
		fix := "begin it with model:, view: or dataset:"
		for _, e := range entries {
			if s := nearest(e.key, kinds); s != "" && s != e.key {
				v.r.add(e.line, e.column, e.key, fmt.Sprintf("unknown key %q", e.key), fmt.Sprintf("write %q instead", s))
				return
			}
		}
		v.problem("the document defines neither a model nor a view nor a dataset", fix)
	case len(found) > 1:
		v.problem("the document defines "+strings.Join(found, " and ")+" at once", "put each into a document of its own, separated by ---")
	case found[0] == "model":
		p.model(v)
	case found[0] == "view":
		p.view(v)
	default:
		p.dataset(v)
	}
}

// define notes that something is defined, once.
func (p *parser) define(kind, name string, v value) bool {
	key := kind + " " + name
	if at, dup := p.defined[key]; dup {
		v.problem(fmt.Sprintf("%s %q is defined twice; first in %s on line %d", kind, name, at.file, at.line), "rename or remove one of them")
		return false
	}
	if p.o.Known != nil {
		if owner := p.o.Known.Owners[key]; owner != "" {
			v.problem(fmt.Sprintf("%s %q belongs to the repository %s", kind, name, owner), "choose another name, or change it there")
			return false
		}
	}
	p.defined[key] = place{v.r.file, v.n.Line}
	return true
}

// refer checks that a name refers to something.
func (p *parser) refer(kind, name string, v value, folder string) {
	p.later = append(p.later, func() {
		if _, ok := p.defined[kind+" "+name]; ok {
			return
		}
		var here []string
		for key := range p.defined {
			if k, n, _ := strings.Cut(key, " "); k == kind {
				here = append(here, n)
			}
		}
		if known := p.o.Known; known != nil {
			if kind == "dataset" {
				if _, ok := known.Datasets[name]; ok {
					return
				}
				for n := range known.Datasets {
					here = append(here, n)
				}
			} else {
				if _, ok := known.Views[name]; ok {
					return
				}
				for n := range known.Views {
					here = append(here, n)
				}
			}
		}
		sort.Strings(here)
		if near := nearest(name, here); near != "" {
			v.problem(fmt.Sprintf("there is no %s %q", kind, name), fmt.Sprintf("write %q instead", near))
		} else if p.o.Known != nil {
			v.problem(fmt.Sprintf("there is no %s %q", kind, name), fmt.Sprintf("define it in %s/%s.yaml, or connect the repository that does", folder, name))
		}
	})
}

func (p *parser) expression(v value) (string, bool) {
	s, ok := v.text()
	if ok && p.o.SQL != nil {
		if err := p.o.SQL.Expression(s); err != nil {
			v.problem("this SQL expression cannot be read: "+err.Error(), "write one DuckDB expression over the columns of a row, without "+
				"SELECT and without a semicolon")
			return "", false
		}
	}
	return s, ok
}

func (p *parser) query(v value) (string, bool) {
	s, ok := v.text()
	if ok && p.o.SQL != nil {
		if err := p.o.SQL.Query(s); err != nil {
			v.problem("this SQL query cannot be read: "+err.Error(), "write one SELECT that returns the offending rows, such as SELECT * FROM data WHERE delay < -120")
			return "", false
		}
	}
	return s, ok
}

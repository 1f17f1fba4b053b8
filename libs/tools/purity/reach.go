package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

const (
	module   = "github.com/freshet-io/freshet/"
	eventlog = module + "libs/eventlog"
	engine   = eventlog + "/internal/engine" // whose types eventlog gives names
)

// A report is what was looked at and what is wrong.
type report struct {
	findings                               []string
	folds, handlers, functions, statements int
}

// A body is a function or a package variable's value, and where it is.
type body struct {
	pkg  *packages.Package
	node ast.Node
}

// A checker holds the code of the repository and what was reached of it.
type checker struct {
	root    string
	pkgs    []*packages.Package
	bodies  map[string]body // functions and package variables, by full name
	named   []*types.Named  // for calls through interfaces
	excused map[string]bool // file:line
	// files that a generator wrote
	generated map[string]bool
	findings  map[string]token.Position
	tables    map[string]*tables // of a service
	reached   map[string]bool
	sql       int
}

// check judges every fold among the packages.
func check(root string, patterns []string) (*report, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedTypes | packages.NeedExportFile | packages.NeedSyntax | packages.NeedTypesInfo,
		Dir: root, Env: append(os.Environ(), "GOWORK="),
	}, patterns...)
	if err != nil {
		return nil, err
	}
	c := &checker{root: root, bodies: map[string]body{}, excused: map[string]bool{}, generated: map[string]bool{}, findings: map[string]token.Position{},
		tables: map[string]*tables{}, reached: map[string]bool{}}
	var broken []error
	for _, p := range pkgs {
		for _, e := range p.Errors {
			broken = append(broken, e)
		}
		c.index(p)
	}
	if err := errors.Join(broken...); err != nil {
		return nil, err
	}
	if len(pkgs) == 0 {
		return nil, fmt.Errorf("no package matches %s", strings.Join(patterns, " "))
	}
	return c.run(), nil
}

// index notes what a package defines.
func (c *checker) index(p *packages.Package) {
	c.pkgs = append(c.pkgs, p)
	for _, file := range p.Syntax {
		if ast.IsGenerated(file) {
			c.generated[p.Fset.Position(file.Pos()).Filename] = true
		}
		for _, group := range file.Comments {
			for _, line := range group.List {
				if reason, ok := strings.CutPrefix(line.Text, "//purity:allow "); ok && strings.TrimSpace(reason) != "" {
					at := p.Fset.Position(line.Pos())
					c.excused[fmt.Sprintf("%s:%d", at.Filename, at.Line)] = true
				}
			}
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if fn, ok := p.TypesInfo.Defs[d.Name].(*types.Func); ok && d.Body != nil {
					c.bodies[fn.FullName()] = body{p, d}
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						for _, name := range s.Names {
							c.bodies[p.PkgPath+"."+name.Name] = body{p, s}
						}
					}
				}
			}
		}
	}
	for _, name := range p.Types.Scope().Names() {
		if t, ok := p.Types.Scope().Lookup(name).(*types.TypeName); ok && !t.IsAlias() {
			if n, ok := t.Type().(*types.Named); ok && n.TypeParams().Len() == 0 {
				c.named = append(c.named, n)
			}
		}
	}
}

// run finds the folds' handlers and follows them.
func (c *checker) run() *report {
	r := &report{}
	type start struct {
		service string
		name    string
		body    body
		decides []ast.Node
	}
	var starts []start
	for name, b := range c.bodies {
		service := serviceOf(b.pkg.PkgPath)
		if service == "" {
			continue
		}
		s := start{service: service, name: name, body: b}
		handlers := 0
		ast.Inspect(b.node, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch fn := calledName(b.pkg, call); fn {
			case eventlog + ".Apply", "(*" + engine + ".Fold).Apply", "(*" + engine + ".Fold).ApplyFirst":
				handlers++
			case eventlog + ".Decide", "(*" + engine + ".Fold).Decide":
				handlers++
				s.decides = append(s.decides, call)
			case eventlog + ".NewFold":
				r.folds++
				c.readTables(service, b.pkg, call)
			}
			return true
		})
		if handlers > 0 {
			r.handlers += handlers
			starts = append(starts, s)
		}
	}
	slices.SortFunc(starts, func(a, b start) int { return strings.Compare(a.name, b.name) })
	for _, s := range starts {
		c.follow(s.service, s.name, s.body, false)
		for _, n := range s.decides {
			c.visit(s.service, body{s.body.pkg, n}, true)
		}
	}
	seen := map[string]bool{}
	for name := range c.reached {
		_, function, _ := strings.Cut(name, " ")
		seen[strings.TrimPrefix(function, "decide ")] = true
	}
	r.functions, r.statements = len(seen), c.sql
	for f := range c.findings {
		r.findings = append(r.findings, f)
	}
	slices.SortFunc(r.findings, func(a, b string) int {
		x, y := c.findings[a], c.findings[b]
		if d := strings.Compare(x.Filename, y.Filename); d != 0 {
			return d
		}
		if x.Line != y.Line {
			return x.Line - y.Line
		}
		return strings.Compare(a, b)
	})
	return r
}

// serviceOf is the service whose package a path names.
func serviceOf(path string) string {
	rest, ok := strings.CutPrefix(path, module+"services/")
	if !ok {
		return ""
	}
	service, _, _ := strings.Cut(rest, "/")
	return service
}

func calledName(p *packages.Package, call *ast.CallExpr) string {
	if fn, ok := used(p, call.Fun).(*types.Func); ok {
		return fn.Origin().FullName()
	}
	return ""
}

// used is the object that an expression names.
func used(p *packages.Package, e ast.Expr) types.Object {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return p.TypesInfo.Uses[e]
	case *ast.SelectorExpr:
		return p.TypesInfo.Uses[e.Sel]
	case *ast.IndexExpr:
		return used(p, e.X)
	case *ast.IndexListExpr:
		return used(p, e.X)
	}
	return nil
}

// readTables reads the tables that a fold is made with.
func (c *checker) readTables(service string, p *packages.Package, call *ast.CallExpr) {
	if len(call.Args) != 3 {
		return
	}
	arg := call.Args[2]
	ddl := ""
	if v := p.TypesInfo.Types[arg].Value; v != nil {
		ddl = constantText(v)
	}
	if ddl == "" {
		c.find(p, call.Pos(), "the tables of a fold are a constant")
		return
	}
	t, wrong := parseTables(ddl)
	for _, w := range wrong {
		c.find(p, call.Pos(), w)
	}
	c.tables[service] = t
}

// follow visits a function once per service, and once more as part of a decision.
func (c *checker) follow(service, name string, b body, deciding bool) {
	key := service + " " + name
	if deciding {
		key = service + " decide " + name
	}
	if c.reached[key] {
		return
	}
	c.reached[key] = true
	c.visit(service, b, deciding)
}

// visit judges a body and follows what it names.
func (c *checker) visit(service string, b body, deciding bool) {
	j := &analyzer{c: c, service: service, p: b.pkg, deciding: deciding, generated: c.generated[b.pkg.Fset.Position(b.node.Pos()).Filename]}
	ast.Inspect(b.node, j.look)
	ast.Inspect(b.node, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if !ok {
			return true
		}
		switch o := b.pkg.TypesInfo.Uses[id].(type) {
		case *types.Func:
			c.reach(service, b.pkg, id, o.Origin(), deciding)
		case *types.Var:
			if o.Pkg() != nil && o.Parent() == o.Pkg().Scope() && inRepository(o.Pkg().Path()) {
				name := o.Pkg().Path() + "." + o.Name()
				if v, ok := c.bodies[name]; ok {
					c.follow(service, name, v, deciding)
				}
			}
		}
		return true
	})
}

// reach follows a function that is named, or judges it where it is not ours.
func (c *checker) reach(service string, p *packages.Package, at *ast.Ident, fn *types.Func, deciding bool) {
	if fn.Pkg() == nil {
		return
	}
	if ofEventlog(fn.Pkg().Path()) {
		c.reachArguments(service, p, at, fn, deciding)
		return
	}
	if !inRepository(fn.Pkg().Path()) {
		if why := forbidden(fn.Pkg().Path(), fn); why != "" {
			c.find(p, at.Pos(), why)
		}
		return
	}
	if why := forbidden(fn.Pkg().Path(), fn); why != "" {
		c.find(p, at.Pos(), why)
		return
	}
	if b, ok := c.bodies[fn.FullName()]; ok {
		c.follow(service, fn.FullName(), b, deciding)
		return
	}
	recv := fn.Signature().Recv()
	if recv == nil {
		return
	}
	if i, ok := recv.Type().Underlying().(*types.Interface); ok {
		for _, n := range c.named {
			for _, t := range []types.Type{n, types.NewPointer(n)} {
				if !types.Implements(t, i) {
					continue
				}
				if m, _, _ := types.LookupFieldOrMethod(t, true, fn.Pkg(), fn.Name()); m != nil {
					if m, ok := m.(*types.Func); ok {
						if b, ok := c.bodies[m.FullName()]; ok && inRepository(m.Pkg().Path()) && !ofEventlog(m.Pkg().Path()) {
							c.follow(service, m.FullName(), b, deciding)
						}
					}
				}
			}
		}
	}
}

// reachArguments follows what a generic function of the event log calls of the types that
// it is used with: how a payload is parsed.
func (c *checker) reachArguments(service string, p *packages.Package, at *ast.Ident, fn *types.Func, deciding bool) {
	arguments, parameters := p.TypesInfo.Instances[at].TypeArgs, fn.Signature().TypeParams()
	for i := range arguments.Len() {
		constraint, ok := parameters.At(i).Constraint().Underlying().(*types.Interface)
		if !ok {
			continue
		}
		for called := range constraint.Methods() {
			if m, _, _ := types.LookupFieldOrMethod(arguments.At(i), true, fn.Pkg(), called.Name()); m != nil {
				if m, ok := m.(*types.Func); ok && c.bodies[m.FullName()].node != nil {
					c.follow(service, m.FullName(), c.bodies[m.FullName()], deciding)
				}
			}
		}
	}
}

// ofEventlog says whether a package is eventlog or one of its rooms: handlers may call
// what these give them.
func ofEventlog(path string) bool {
	return path == eventlog || strings.HasPrefix(path, eventlog+"/internal/")
}

func inRepository(path string) bool { return strings.HasPrefix(path, module) }

// find notes a finding, unless its line excuses it.
func (c *checker) find(p *packages.Package, pos token.Pos, what string) {
	at := p.Fset.Position(pos)
	if c.excused[fmt.Sprintf("%s:%d", at.Filename, at.Line)] {
		return
	}
	if rel, err := filepath.Rel(c.root, at.Filename); err == nil {
		at.Filename = rel
	}
	c.findings[fmt.Sprintf("%s:%d: %s", filepath.ToSlash(at.Filename), at.Line, what)] = at
}

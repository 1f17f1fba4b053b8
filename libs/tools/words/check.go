package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A finding is a refused word and where it is.
type finding struct {
	file, what, text string
	line             int
	word, term       string
}

// longest is how much of a message a finding shows.
const longest = 80

func (f finding) String() string {
	text := strings.Join(strings.Fields(f.text), " ")
	if r := []rune(text); len(r) > longest {
		text = string(r[:longest]) + "…"
	}
	return fmt.Sprintf("%s:%d: %s %q: %q → %s", f.file, f.line, f.what, text, f.word, f.term)
}

// A checker collects findings of files.
type checker struct {
	list     list
	findings []finding
}

// check reads all files of a tree and returns the findings and the number of files.
func check(tree fs.FS, l list) ([]finding, int, error) {
	c := &checker{list: l}
	files := 0
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base == "testdata" || base == "node_modules" || base == "bin" || len(base) > 1 && base[0] == '.' {
				return fs.SkipDir
			}
			return nil
		}
		if under(l.skipped, name) {
			return nil
		}
		extension := path.Ext(name)
		if !slices.Contains([]string{".go", ".js", ".md", ".html"}, extension) {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		files++
		if extension != ".go" {
			for i, line := range strings.Split(string(text), "\n") {
				c.message(name, i+1, "line", line, textWords(line))
			}
			return nil
		}
		return c.source(name, text)
	})
	slices.SortStableFunc(c.findings, func(a, b finding) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	return c.findings, files, err
}

// source checks a Go file.
func (c *checker) source(name string, text []byte) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if ast.IsGenerated(file) {
		return nil
	}
	c.name(name, 1, "file", path.Base(name))
	line := func(n ast.Node) int { return set.Position(n.Pos()).Line }
	declared := func(what string, names ...*ast.Ident) {
		for _, n := range names {
			if n != nil {
				c.name(name, line(n), what, n.Name)
			}
		}
	}
	declared("package", file.Name)
	test := strings.HasSuffix(name, "_test.go")
	for _, group := range file.Comments {
		for i, text := range strings.Split(group.Text(), "\n") {
			c.message(name, line(group)+i, "comment", text, textWords(text))
		}
	}
	coded := map[ast.Node]string{} // literals that are split like names, and what they are
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			declared("import", n.Name)
			return false // its path is another package's name
		case *ast.FuncDecl:
			declared("function", n.Name)
		case *ast.TypeSpec:
			declared("type", n.Name)
		case *ast.ValueSpec:
			declared("identifier", n.Names...)
		case *ast.Field:
			declared("identifier", n.Names...)
			if n.Tag != nil && !strings.Contains(n.Tag.Value, `help:"`) {
				coded[n.Tag] = "" // names of payloads and settings
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, left := range n.Lhs {
					if id, ok := left.(*ast.Ident); ok {
						declared("identifier", id)
					}
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				for _, left := range []ast.Expr{n.Key, n.Value} {
					if id, ok := left.(*ast.Ident); ok {
						declared("identifier", id)
					}
				}
			}
		case *ast.CallExpr:
			markKeys(n, coded)
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Name" {
				coded[n.Value] = "name"
			}
		case *ast.BasicLit:
			if test || n.Kind != token.STRING {
				return true
			}
			what, isCoded := coded[n]
			if isCoded && what == "" {
				return true
			}
			value, err := strconv.Unquote(n.Value)
			if err != nil {
				return true // the parser has accepted it
			}
			words := textWords(value)
			if isCoded {
				words = nameWords(value)
			}
			c.message(name, line(n), cmp.Or(what, "message"), value, words)
		}
		return true
	})
	return nil
}

// logMethods take a message and then keys and values.
var logMethods = map[string]bool{
	"Debug": true, "Info": true, "Warn": true, "Error": true,
	"DebugContext": true, "InfoContext": true, "WarnContext": true, "ErrorContext": true, "With": true,
}

// markKeys notes the keys of a log line: literals without a space.
func markKeys(call *ast.CallExpr, coded map[ast.Node]string) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !logMethods[method.Sel.Name] {
		return
	}
	for _, arg := range call.Args {
		if l, ok := arg.(*ast.BasicLit); ok && l.Kind == token.STRING && !strings.Contains(l.Value, " ") {
			coded[l] = "log key"
		}
	}
}

func (c *checker) name(file string, line int, what, name string) {
	words := nameWords(name)
	for _, r := range c.list.rules {
		if r.names {
			c.try(r, file, line, what, name, words)
		}
	}
}

func (c *checker) message(file string, line int, what, text string, words []string) {
	for _, r := range c.list.rules {
		if r.messages {
			c.try(r, file, line, what, text, words)
		}
	}
}

func (c *checker) try(r rule, file string, line int, what, text string, words []string) {
	if word := r.match(words); word != "" && !under(r.exceptions, file) {
		c.findings = append(c.findings, finding{file: file, line: line, what: what, text: text, word: word, term: r.term})
	}
}

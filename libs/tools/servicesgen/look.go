package main

import (
	"errors"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-io/freshet/libs/tools/services"
)

// pattern is a route as net/http's mux takes it. Services write theirs as literals, so
// that they can be read here; a test of the suite compares them with the muxes.
var pattern = regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE) /\S*$`)

// look reads a service's package comment and its routes from its source.
func look(root string, s services.Service) (service, error) {
	out := service{Service: s}
	dir := filepath.Join(root, "services", s.Name)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if path == filepath.Join(dir, "doc.go") {
			out.Synopsis = strings.TrimPrefix(new(doc.Package).Synopsis(file.Doc.Text()), "Package "+s.Package()+" ")
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, err := strconv.Unquote(l.Value); err == nil && pattern.MatchString(text) {
					out.Routes = append(out.Routes, text)
				}
			}
			return true
		})
		return nil
	})
	if err == nil && out.Synopsis == "" {
		err = errors.New("doc.go has no package comment: write what the service decides")
	}
	slices.Sort(out.Routes)
	out.Routes = slices.Compact(out.Routes)
	return out, err
}

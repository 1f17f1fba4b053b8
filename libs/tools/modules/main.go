// Command modules writes the lines by which the repository's modules find each
// other: go.work's list, and in each go.mod a replace for every sibling that it
// needs, siblings' siblings included, because a replace counts in the main module
// only. Third-party requirements are go mod tidy's.
package main

import (
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/freshet-io/freshet/libs/tools/generated"
	"golang.org/x/mod/modfile"
	versions "golang.org/x/mod/module"
)

func main() {
	log.SetFlags(0)
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		log.Fatal(err)
	}
}

// module is one go.mod of the repository.
type module struct {
	dir     string // relative to the root, with slashes
	path    string
	imports []string // siblings imported by its packages or tests, by path
}

// tools stays out of the workspace, so that the linters and generators it pins do
// not choose the versions that services are built with.
const tools = "libs/tools"

func run(root string) error {
	modules, err := find(root)
	if err != nil {
		return err
	}
	for _, m := range modules {
		if m.imports, err = siblingImports(root, m, modules); err != nil {
			return err
		}
	}
	for _, m := range modules {
		if err := writeMod(root, m, modules); err != nil {
			return fmt.Errorf("%s: %w", m.dir, err)
		}
	}
	return writeWork(root, modules)
}

func find(root string) ([]*module, error) {
	var modules []*module
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.Name() != "go.mod" || d.IsDir() {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		name := modfile.ModulePath(raw)
		if name == "" {
			return fmt.Errorf("%s names no module", path)
		}
		modules = append(modules, &module{dir: filepath.ToSlash(dir), path: name})
		return nil
	})
	sort.Slice(modules, func(i, j int) bool { return modules[i].path < modules[j].path })
	return modules, err
}

// owner is the module that a package belongs to, nil if it is none of them.
func owner(pkg string, modules []*module) *module {
	var best *module
	for _, m := range modules {
		if (pkg == m.path || strings.HasPrefix(pkg, m.path+"/")) && (best == nil || len(m.path) > len(best.path)) {
			best = m
		}
	}
	return best
}

func siblingImports(root string, m *module, modules []*module) ([]string, error) {
	found := map[string]bool{}
	top := filepath.Join(root, filepath.FromSlash(m.dir))
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path == top {
				return nil
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			pkg, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if o := owner(pkg, modules); o != nil && o != m {
				found[o.path] = true
			}
		}
		return nil
	})
	var paths []string
	for p := range found {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths, err
}

// closure is everything that m needs of its siblings.
func closure(m *module, modules []*module) []*module {
	seen := map[*module]bool{m: true}
	var all []*module
	var visit func(*module)
	visit = func(x *module) {
		for _, path := range x.imports {
			if o := owner(path, modules); !seen[o] {
				seen[o] = true
				all = append(all, o)
				visit(o)
			}
		}
	}
	visit(m)
	sort.Slice(all, func(i, j int) bool { return all[i].path < all[j].path })
	return all
}

const unreleased = "v0.0.0"

func writeMod(root string, m *module, modules []*module) error {
	path := filepath.Join(root, filepath.FromSlash(m.dir), "go.mod")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := modfile.Parse(path, raw, nil)
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, s := range closure(m, modules) {
		needed[s.path] = true
		rel, err := filepath.Rel(filepath.FromSlash(m.dir), filepath.FromSlash(s.dir))
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); !strings.HasPrefix(rel, "..") {
			rel = "./" + rel
		}
		if err := f.AddReplace(s.path, "", rel, ""); err != nil {
			return err
		}
		if slices.Contains(m.imports, s.path) {
			need(f, s.path)
		}
	}
	for _, s := range modules {
		if needed[s.path] {
			continue
		}
		if err := f.DropReplace(s.path, ""); err != nil {
			return err
		}
		if err := f.DropRequire(s.path); err != nil {
			return err
		}
	}
	f.Cleanup()
	text, err := f.Format()
	if err != nil {
		return err
	}
	return generated.Write(path, text)
}

// need adds a requirement beside those that are direct, where it is not there.
func need(f *modfile.File, path string) {
	all := []*modfile.Require{{Mod: versions.Version{Path: path, Version: unreleased}}}
	for _, r := range f.Require {
		if r.Mod.Path == path && !r.Indirect {
			return
		}
		if r.Mod.Path != path {
			all = append(all, &modfile.Require{Mod: r.Mod, Indirect: r.Indirect})
		}
	}
	f.SetRequireSeparateIndirect(all)
}

func writeWork(root string, modules []*module) error {
	path := filepath.Join(root, "go.work")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := modfile.ParseWork(path, raw, nil)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, u := range slices.Clone(f.Use) {
		if wanted := slices.ContainsFunc(modules, func(m *module) bool { return m.dir != tools && "./"+m.dir == u.Path }); wanted {
			used[u.Path] = true
		} else if err := f.DropUse(u.Path); err != nil {
			return err
		}
	}
	for _, m := range modules {
		if dir := "./" + m.dir; m.dir != tools && !used[dir] {
			if err := f.AddUse(dir, ""); err != nil {
				return err
			}
		}
	}
	f.SortBlocks()
	f.Cleanup()
	return generated.Write(path, modfile.Format(f.Syntax))
}

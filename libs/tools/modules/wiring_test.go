package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// longestWiring is how many lines a service's module.go may have, so that whoever
// opens it sees the whole service.
const longestWiring = 79

// wiringFaults are what a module.go breaks of its rules.
func wiringFaults(path string, text []byte) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var faults []string
	if n := strings.Count(string(text), "\n"); n > longestWiring {
		faults = append(faults, "is too long: move constructors to the packages of what they construct")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			faults = append(faults, "has a function without a name: name it, or give what it holds to a constructor")
		case *ast.SelectorExpr:
			if n.Sel.Name == "ResultTags" || n.Sel.Name == "ParamTags" {
				faults = append(faults, "names a group by a string: use service.Loops, Effects, Checks or Migrations")
			}
		}
		return true
	})
	return faults, nil
}

func TestEveryServicesWiringIsShortAndNamed(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../../services/*/module.go")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		faults, err := wiringFaults(path, text)
		require.NoError(t, err)
		require.Empty(t, faults, path)
	}
}

func TestWiringThatBreaksARuleIsNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"package p\n" + strings.Repeat("\n", 79):                      "is too long",
		"package p\n\nvar f = func() {}\n":                            "without a name",
		"package p\n\nvar a = fx.Annotate(f, fx.ResultTags(\"g\"))\n": "by a string",
	} {
		faults, err := wiringFaults("module.go", []byte(text))
		require.NoError(t, err)
		require.Len(t, faults, 1)
		require.Contains(t, faults[0], want)
	}
}

// A package of the log can be read in an afternoon, a file of it in a sitting.
func TestNoPackageOfTheLogIsTooLarge(t *testing.T) {
	t.Parallel()
	const longestPackage, longestFile = 2000, 450
	lines := map[string]int{}
	err := filepath.WalkDir("../../eventlog", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		n := strings.Count(string(text), "\n")
		lines[filepath.Dir(path)] += n
		require.LessOrEqual(t, n, longestFile, path)
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, lines)
	for dir, n := range lines {
		require.LessOrEqual(t, n, longestPackage, dir)
	}
}

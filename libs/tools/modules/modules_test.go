package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for path, text := range map[string]string{
		"go.work":              "go 1.26.0\n\nuse ./gone\n",
		"words/go.mod":         "module example.com/words\n\ngo 1.26\n",
		"words/words.go":       "package words\n",
		"lib/go.mod":           "module example.com/lib\n\ngo 1.26\n\nreplace example.com/app => ../app\n",
		"lib/lib.go":           "package lib\n\nimport _ \"example.com/words\"\n",
		"lib/kit/go.mod":       "module example.com/lib/kit\n\ngo 1.26\n",
		"lib/kit/kit.go":       "package kit\n\nimport _ \"example.com/lib\"\n",
		"app/go.mod":           "module example.com/app\n\ngo 1.26\n",
		"app/app.go":           "package app\n",
		"app/app_test.go":      "package app\n\nimport _ \"example.com/lib/kit/deep\"\n",
		"app/testdata/x/x.go":  "not Go at all",
		"libs/tools/go.mod":    "module example.com/tools\n\ngo 1.26\n",
		"libs/tools/tools.go":  "package tools\n",
		".cache/copy/go.mod":   "module example.com/copy\n",
		"app/testdata/go.mod":  "module example.com/testdata\n",
		"lib/kit/deep/deep.go": "package deep\n",
	} {
		path = filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want := map[string]string{
		"go.work":      "go 1.26.0\n\nuse (\n\t./app\n\t./lib\n\t./lib/kit\n\t./words\n)\n",
		"words/go.mod": "module example.com/words\n\ngo 1.26\n",
		"lib/go.mod":   "module example.com/lib\n\ngo 1.26\n\nreplace example.com/words => ../words\n\nrequire example.com/words v0.0.0\n",
		"lib/kit/go.mod": "module example.com/lib/kit\n\ngo 1.26\n\nreplace example.com/lib => ..\n\nrequire example.com/lib v0.0.0\n\nreplace " +
			"example.com/words => ../../words\n",
		"app/go.mod": "module example.com/app\n\ngo 1.26\n\nreplace example.com/lib => ../lib\n\nreplace example.com/lib/kit => ../lib/kit\n\n" +
			"require example.com/lib/kit v0.0.0\n\nreplace example.com/words => ../words\n",
	}
	for range 2 { // the second time changes nothing
		require.NoError(t, run(root))
		for path, text := range want {
			got, err := os.ReadFile(filepath.Join(root, path))
			require.NoError(t, err)
			require.Equal(t, text, string(got), path)
		}
	}
}

package spec_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/contracts"
	"github.com/freshet-io/freshet/services/ingestion/internal/spec"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

// schemas are the JSON Schemas that editors check users' files with, by kind.
func schemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	found := map[string]*jsonschema.Schema{}
	for kind, name := range map[string]string{"model": "freshet", "dataset": "dataset", "view": "view"} {
		path := "spec/v1/" + name + ".json"
		raw, err := fs.ReadFile(contracts.FS, path)
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		require.NoError(t, err)
		require.NoError(t, c.AddResource(contracts.BaseURL+path, doc))
		found[kind] = c.MustCompile(contracts.BaseURL + path)
	}
	return found
}

// documents reads a file's documents as JSON values, by kind in order.
func documents(t *testing.T, raw []byte) []map[string]any {
	t.Helper()
	var docs []map[string]any
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	for {
		var doc map[string]any
		if err := dec.Decode(&doc); err != nil {
			return docs
		}
		text, err := json.Marshal(doc)
		require.NoError(t, err)
		docs = append(docs, fromJSON(t, text))
	}
}

func fromJSON(t require.TestingT, text []byte) map[string]any {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	m, _ := v.(map[string]any)
	return m
}

func kindOf(doc map[string]any) string {
	for _, kind := range []string{"model", "view", "dataset"} { // a view names its dataset, too
		if _, ok := doc[kind]; ok {
			return kind
		}
	}
	return ""
}

func TestEditorsAcceptWhatIsSound(t *testing.T) {
	t.Parallel()
	known := schemas(t)
	paths := []string{"testdata/whole.yaml"}
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		more, err := filepath.Glob("../../../../examples/flight-delays/model/" + pattern)
		require.NoError(t, err)
		paths = append(paths, more...)
	}
	require.Greater(t, len(paths), 3)
	seen := map[string]bool{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, doc := range documents(t, raw) {
			kind := kindOf(doc)
			seen[kind] = true
			require.NoError(t, known[kind].Validate(doc), path)
		}
	}
	require.Len(t, seen, 3)
}

// odd are values that are wrong in most places.
var odd = []string{`true`, `-1`, `0`, `7`, `0.5`, `1000`, `""`, `"x"`, `"flights"`, `"Not A Name"`, `"1h"`, `"90 minutes"`, `"5%"`, `"4GiB"`, `[]`,
	`["x"]`, `[1, 2]`, `{}`, `{"x": "y"}`, `{"x": 1}`}

// What an editor marks as wrong, the parser refuses: the schema asks for nothing
// that the parser does not. The parser knows more, so the reverse does not hold.
func TestEditorsRefuseOnlyWhatIsWrong(t *testing.T) {
	t.Parallel()
	known := schemas(t)
	raw, err := os.ReadFile("testdata/whole.yaml")
	require.NoError(t, err)
	docs := documents(t, raw)
	rapid.Check(t, func(rt *rapid.T) {
		var changed []map[string]any
		at := rapid.IntRange(0, len(docs)-1).Draw(rt, "document")
		for i, doc := range docs {
			text, err := json.Marshal(doc)
			require.NoError(rt, err)
			next := fromJSON(rt, text)
			if i == at {
				change(rt, next)
			}
			changed = append(changed, next)
		}
		kind := kindOf(docs[at])
		if known[kind].Validate(changed[at]) == nil {
			return
		}
		var file strings.Builder
		for _, doc := range changed {
			text, err := json.Marshal(doc) // JSON is YAML
			require.NoError(rt, err)
			file.WriteString("---\n" + string(text) + "\n")
		}
		got := spec.Parse(map[string][]byte{"freshet.yaml": []byte(file.String())}, spec.Options{})
		if len(got.Problems) == 0 {
			rt.Fatalf("an editor refuses what the parser accepts: %v\n%s", known[kind].Validate(changed[at]), file.String())
		}
	})
}

// change replaces, removes or adds one thing somewhere.
func change(rt *rapid.T, v any) any {
	value := func() any {
		var x any
		text := rapid.SampledFrom(odd).Draw(rt, "value")
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		require.NoError(rt, dec.Decode(&x))
		return x
	}
	switch x := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(x))
		if len(keys) == 0 || rapid.IntRange(0, 5).Draw(rt, "add") == 0 {
			x["surprise"] = value()
			return x
		}
		k := rapid.SampledFrom(keys).Draw(rt, "key")
		switch rapid.IntRange(0, 3).Draw(rt, "what") {
		case 0:
			delete(x, k)
		case 1:
			x[k] = value()
		default:
			x[k] = change(rt, x[k])
		}
		return x
	case []any:
		if len(x) == 0 || rapid.Bool().Draw(rt, "append") {
			return append(x, value())
		}
		i := rapid.IntRange(0, len(x)-1).Draw(rt, "index")
		x[i] = change(rt, x[i])
		return x
	}
	return value()
}

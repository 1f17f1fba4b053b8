package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/freshet-io/freshet/contracts"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

func described(t *testing.T) (*catalogue, map[string]any) {
	t.Helper()
	c, err := load(contracts.FS)
	require.NoError(t, err)
	text, err := asyncAPI(c)
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, yaml.Unmarshal(text, &doc))
	return c, doc
}

var address = regexp.MustCompile(`\{([a-z]+)\}`)

// The AsyncAPI document is whole: the required parts of AsyncAPI 3, every type a
// channel, a message and its operations, no reference that leads out of it.
func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	c, doc := described(t)
	require.Equal(t, "3.0.0", doc["asyncapi"])
	info := doc["info"].(map[string]any)
	require.NotEmpty(t, info["title"])
	require.NotEmpty(t, info["version"])
	for name, server := range doc["servers"].(map[string]any) {
		require.NotEmpty(t, server.(map[string]any)["host"], name)
		require.NotEmpty(t, server.(map[string]any)["protocol"], name)
	}
	channels := doc["channels"].(map[string]any)
	for name, v := range channels {
		ch := v.(map[string]any)
		parameters, _ := ch["parameters"].(map[string]any)
		for _, m := range address.FindAllStringSubmatch(ch["address"].(string), -1) {
			require.Contains(t, parameters, m[1], name)
		}
		require.NotEmpty(t, ch["messages"], name)
	}
	operations := doc["operations"].(map[string]any)
	messages := doc["components"].(map[string]any)["messages"].(map[string]any)
	for _, ch := range c.channels {
		require.Contains(t, channels, key(ch))
		require.Equal(t, ch.Type, messages[key(ch)].(map[string]any)["name"])
		require.Contains(t, operations, ch.Owner+".send."+key(ch))
		for _, consumer := range ch.Consumers {
			require.Contains(t, operations, consumer+".receive."+key(ch))
		}
	}
	for name, v := range operations {
		op := v.(map[string]any)
		require.Contains(t, []any{"send", "receive"}, op["action"], name)
		ref := op["channel"].(map[string]any)["$ref"].(string)
		messages, _ := op["messages"].([]any)
		for _, m := range messages {
			require.True(t, strings.HasPrefix(m.(map[string]any)["$ref"].(string), ref+"/messages/"), "%s: a message of another channel", name)
		}
	}
	refs := 0
	eachRef(doc, func(ref string) {
		refs++
		require.True(t, resolves(doc, ref), "%s leads nowhere in the document", ref)
	})
	require.Greater(t, refs, 4*len(c.channels))
}

func eachRef(v any, found func(string)) {
	switch x := v.(type) {
	case map[string]any:
		for k, y := range x {
			if ref, ok := y.(string); ok && k == "$ref" {
				found(ref)
				continue
			}
			eachRef(y, found)
		}
	case []any:
		for _, y := range x {
			eachRef(y, found)
		}
	}
}

func resolves(doc any, ref string) bool {
	pointer, local := strings.CutPrefix(ref, "#/")
	if !local {
		return false
	}
	for _, part := range strings.Split(pointer, "/") {
		m, ok := doc.(map[string]any)
		if !ok || m[part] == nil {
			return false
		}
		doc = m[part]
	}
	return true
}

// compilerOf knows the document as asyncapi.json.
func compilerOf(t *testing.T, doc map[string]any) *jsonschema.Compiler {
	t.Helper()
	text, err := json.Marshal(doc)
	require.NoError(t, err)
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // as AsyncAPI has it
	compiler.AssertFormat()
	compiler.RegisterFormat(&jsonschema.Format{Name: "go-duration", Validate: func(v any) error {
		if s, ok := v.(string); ok {
			_, err := time.ParseDuration(s)
			return err
		}
		return nil
	}})
	require.NoError(t, compiler.AddResource("asyncapi.json", plain))
	return compiler
}

// What the document says of a payload is what its contract says.
func TestTheDocumentsSchemasDecideAsTheContractsDo(t *testing.T) {
	t.Parallel()
	_, doc := described(t)
	compiler := compilerOf(t, doc)
	root := os.DirFS(filepath.Join("..", "..", "..", "contracts"))
	files, err := fs.Glob(root, "*/v1/testdata/*/*.json")
	require.NoError(t, err)
	decided := map[bool]int{}
	for _, file := range files {
		parts := strings.Split(file, "/") // OWNER/v1/testdata/NAME/valid-full.json
		name := component(parts[0] + "/" + parts[1] + "/" + parts[3] + ".json")
		if !resolves(doc, componentSchemas+name) {
			continue // of a file of users
		}
		f, err := root.Open(file)
		require.NoError(t, err)
		payload, err := jsonschema.UnmarshalJSON(f)
		require.NoError(t, f.Close())
		require.NoError(t, err, file)
		valid := compiler.MustCompile("asyncapi.json"+componentSchemas+name).Validate(payload) == nil
		require.Equal(t, strings.HasPrefix(parts[4], "valid-"), valid, file)
		decided[valid]++
	}
	require.Greater(t, decided[true], 50)
	require.Greater(t, decided[false], 50)
}

// What a real run wrote is what the document says of messages: envelope and payload.
func TestTheDocumentDescribesTheGoldenLog(t *testing.T) {
	t.Parallel()
	c, doc := described(t)
	compiler := compilerOf(t, doc)
	keys := map[string]string{} // of the types
	for _, ch := range c.channels {
		keys[ch.Type] = key(ch)
	}
	f, err := os.Open(filepath.Join("..", "..", "..", "cmd", "freshet", "internal", "golden", "testdata", "log.jsonl.gz"))
	require.NoError(t, err)
	defer f.Close()
	lines, err := gzip.NewReader(f)
	require.NoError(t, err)
	types := map[string]bool{}
	for log := json.NewDecoder(lines); ; {
		var raw json.RawMessage
		if err := log.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		message, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		require.NoError(t, err)
		typ := message.(map[string]any)["type"].(string)
		schema := compiler.MustCompile("asyncapi.json#/components/messages/" + keys[typ] + "/payload")
		require.NoError(t, schema.Validate(message), "%s", raw)
		types[typ] = true
		message.(map[string]any)["source"] = "/freshet/another"
		require.Error(t, schema.Validate(message), typ)
	}
	require.Greater(t, len(types), 30)
}

func TestAReferenceToNoContractIsRefused(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"other.json", "https://example.com/x.json", contracts.BaseURL + "types/v1/absent.json"} {
		broken := fstest.MapFS{}
		for path, file := range small {
			broken[path] = file
		}
		text := string(small["inference/v1/record.json"].Data)
		require.Contains(t, text, "#/$defs/column")
		broken["inference/v1/record.json"] = &fstest.MapFile{Data: []byte(strings.Replace(text, "#/$defs/column", ref, 1))}
		c, err := load(broken)
		require.NoError(t, err)
		_, err = asyncAPI(c)
		require.ErrorContains(t, err, "contract")
	}
}

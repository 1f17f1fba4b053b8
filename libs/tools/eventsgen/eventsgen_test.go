package main

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/freshet-io/freshet/contracts"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

// small is a contract directory with one of everything that the generator knows.
var small = fstest.MapFS{
	"channels.yaml": {Data: []byte(`events:
  io.freshet.mill.v1.grain_ground: {owner: mill, kind: fact, subject: sack, consumers: [bakery, mill]}
  io.freshet.bakery.v1.bread_baked: {owner: bakery, kind: decision, subject: loaf, consumers: [mill]}
  io.freshet.mill.v1.service_activated: {owner: mill, kind: fact, subject: service, consumers: [bakery]}
`)},
	"mill/v1/grain_ground.json": {Data: []byte(`{"$id": "https://freshet.io/contracts/mill/v1/grain_ground.json", "title": "grain_ground",
  "description": "A sack of flour.", "type": "object", "required": ["sack", "kilograms", "kind", "seals", "at"], "properties": {
  "sack": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_.-]{0,62}$", "description": "its name"},
  "kilograms": {"type": "number", "minimum": 0, "maximum": 80},
  "kind": {"type": "string", "enum": ["rye", "wheat"]},
  "seals": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"$ref": "https://freshet.io/contracts/types/v1/seal.json"}},
  "at": {"type": "string", "format": "date-time"},
  "took": {"type": "string", "format": "go-duration"},
  "stones": {"type": "integer", "minimum": 1, "maximum": 4},
  "note": {"type": "string", "maxLength": 40},
  "parts": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "number"}}},
  "extra": {"type": "object", "additionalProperties": {}},
  "clean": {"type": "boolean"}}}`)},
	"bakery/v1/bread_baked.json": {Data: []byte(`{"$id": "https://freshet.io/contracts/bakery/v1/bread_baked.json", "title": "bread_baked",
  "description": "A loaf.", "type": "object", "required": ["loaf"], "properties": {
  "loaf": {"type": "string", "minLength": 1, "maxLength": 128},
  "seal": {"$ref": "https://freshet.io/contracts/types/v1/seal.json"}}}`)},
	"mill/v1/service_activated.json":  {Data: []byte(`{"$id": "https://freshet.io/contracts/mill/v1/service_activated.json", "title": "service_activated", "$ref": "https://freshet.io/contracts/types/v1/service_activated.json"}`)},
	"types/v1/service_activated.json": {Data: []byte(`{"$id": "https://freshet.io/contracts/types/v1/service_activated.json", "title": "service_activated", "description": "It began.", "type": "object", "properties": {"through": {"type": "integer"}}}`)},
	"types/v1/seal.json":              {Data: []byte(`{"$id": "https://freshet.io/contracts/types/v1/seal.json", "title": "seal", "description": "Whose it is.", "type": "object", "required": ["digest"], "properties": {"digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}}}`)},
	"arrival/v1/arrival.json":         {Data: []byte(`{"$id": "https://freshet.io/contracts/arrival/v1/arrival.json", "title": "arrival", "description": "Something came.", "type": "object", "properties": {}}`)},
	"inference/v1/record.json": {Data: []byte(`{"$id": "https://freshet.io/contracts/inference/v1/record.json", "title": "record", "type": "object",
  "properties": {"columns": {"type": "array", "items": {"$ref": "#/$defs/column", "description": "of the request"}}},
  "$defs": {"column": {"type": "object", "properties": {"name": {"type": "string"}}}}}`)},
	"mill/v1/testdata/x/valid-1.json": {Data: []byte(`{}`)},
	"spec/v1/freshet.json":            {Data: []byte(`{"oneOf": []}`)},
}

func TestGolden(t *testing.T) {
	t.Parallel()
	c, err := load(small)
	require.NoError(t, err)
	files, err := goFiles(c)
	require.NoError(t, err)
	files["asyncapi.yaml"], err = asyncAPI(c)
	require.NoError(t, err)
	files["mill.md"] = eventTable(c, "mill")
	for name, text := range files {
		path := filepath.Join("testdata", name+".golden")
		if *update {
			require.NoError(t, os.WriteFile(path, text, 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), string(text), "%s differs; go test ./eventsgen -update writes it", path)
	}
}

// What is not understood must not be dropped.
func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][3]string{
		"a keyword it does not know":      {"bakery/v1/bread_baked.json", `"minLength": 1`, `"contentEncoding": "base64"`},
		"a pattern without a checker":     {"mill/v1/grain_ground.json", `^[a-z0-9][a-z0-9_.-]{0,62}$`, `^.*$`},
		"a format without a type":         {"mill/v1/grain_ground.json", `date-time`, `date`},
		"a required property that is not": {"bakery/v1/bread_baked.json", `["loaf"]`, `["loaf", "crust"]`},
		"an $id of another file":          {"bakery/v1/bread_baked.json", `bakery/v1/bread_baked.json"`, `bakery/v1/bread.json"`},
		"a type of another owner":         {"channels.yaml", `owner: bakery`, `owner: mill`},
		"a type without a schema":         {"channels.yaml", `bread_baked`, `cake_baked`},
		"an unknown kind":                 {"channels.yaml", `kind: decision`, `kind: wish`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := fstest.MapFS{}
			for path, file := range small {
				broken[path] = file
			}
			text := string(small[change[0]].Data)
			require.Contains(t, text, change[1])
			broken[change[0]] = &fstest.MapFile{Data: []byte(strings.Replace(text, change[1], change[2], 1))}
			c, err := load(broken)
			if err == nil {
				_, err = goFiles(c)
			}
			require.Error(t, err)
		})
	}
}

// A reader keeps one bit for each member.
func TestRefusesTooManyMembers(t *testing.T) {
	t.Parallel()
	for members, ok := range map[int]bool{maxFields: true, maxFields + 1: false} {
		s := &schema{Type: "object", Properties: map[string]*schema{}}
		for i := range members {
			name := "m" + strconv.Itoa(i)
			s.order, s.Properties[name] = append(s.order, name), &schema{Type: "string"}
		}
		_, err := goFiles(&catalogue{schemas: map[string]*schema{"types/v1/wide.json": s}})
		require.Equal(t, ok, err == nil, "%d members: %v", members, err)
	}
}

// The committed files are what the contracts give.
func TestCommittedFilesAreCurrent(t *testing.T) {
	t.Parallel()
	c, err := load(contracts.FS)
	require.NoError(t, err)
	files, err := goFiles(c)
	require.NoError(t, err)
	root := filepath.Join("..", "..", "..")
	for name, text := range files {
		got, err := os.ReadFile(filepath.Join(root, "events", name))
		require.NoError(t, err)
		require.Equal(t, string(text), string(got), "events/%s is stale: make generate", name)
	}
	got, err := os.ReadFile(filepath.Join(root, "contracts", "asyncapi.yaml"))
	require.NoError(t, err)
	described, err := asyncAPI(c)
	require.NoError(t, err)
	require.Equal(t, string(described), string(got), "contracts/asyncapi.yaml is stale: make generate")
}

func TestReplaceTable(t *testing.T) {
	t.Parallel()
	table := []byte("T\n")
	block := tableBegin + "\n\nT\n\n" + tableEnd
	for old, want := range map[string]string{
		"# x\n": "# x\n\n" + block + "\n",
		"# x\n\n" + tableBegin + "\nold\n" + tableEnd + "\n\nmore\n": "# x\n\n" + block + "\n\nmore\n",
		"# x\n\n" + tableBegin + "\n\nmore\n":                        "# x\n\n" + block + "\n\nmore\n",
	} {
		got, err := replaceTable([]byte(old), table)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		again, err := replaceTable(got, table)
		require.NoError(t, err)
		require.Equal(t, want, string(again), "writing twice must change nothing")
	}
	_, err := replaceTable([]byte(tableEnd), table)
	require.Error(t, err)
}

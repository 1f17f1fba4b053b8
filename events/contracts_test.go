package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/contracts"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The goldens are read from the directory, because the contracts module embeds
// its schemas only.
var goldens = os.DirFS("../contracts")

// compiler knows every contract under its $id.
func compiler(t testing.TB) *jsonschema.Compiler {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.RegisterFormat(&jsonschema.Format{Name: "go-duration", Validate: func(v any) error {
		if s, ok := v.(string); ok {
			_, err := time.ParseDuration(s)
			return err
		}
		return nil
	}})
	for _, p := range schemaPaths(t) {
		raw, err := contracts.FS.ReadFile(p)
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		require.NoError(t, err, p)
		require.NoError(t, c.AddResource(contracts.BaseURL+p, doc))
	}
	return c
}

func schemaPaths(t testing.TB) []string {
	t.Helper()
	paths, err := fs.Glob(contracts.FS, "*/v*/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	return paths
}

// A type, the path of its schema, its dataschema and the schema's $id are one
// name in four forms, each type has one, and each schema of a service has a type.
func TestTypeSchemaAndURLAreOne(t *testing.T) {
	t.Parallel()
	types := map[string]bool{}
	for typ, c := range Channels {
		parts := strings.Split(typ, ".")
		require.Len(t, parts, 5, typ)
		require.Equal(t, typ, c.Type)
		require.Equal(t, parts[2], c.Owner)
		require.Equal(t, strings.Join(parts[2:4], "/")+"/"+parts[4]+".json", c.Schema)
		require.Equal(t, contracts.BaseURL+c.Schema, c.DataSchema())
		raw, err := contracts.FS.ReadFile(c.Schema)
		require.NoError(t, err)
		var s struct {
			ID    string `json:"$id"`
			Title string `json:"title"`
		}
		require.NoError(t, json.Unmarshal(raw, &s))
		require.Equal(t, c.DataSchema(), s.ID)
		require.Equal(t, parts[4], s.Title)
		types[c.Schema] = true
	}
	owners := Services()
	for _, p := range schemaPaths(t) {
		for _, owner := range owners {
			if strings.HasPrefix(p, owner+"/") {
				require.True(t, types[p], "%s belongs to no type of channels.yaml", p)
			}
		}
	}
	require.Len(t, types, len(Channels))
}

// A payload says the type of its events, where only one type has it.
func TestAPayloadKnowsItsType(t *testing.T) {
	t.Parallel()
	known := 0
	for typ, c := range Channels {
		p, ok := c.payload().(interface{ EventType() string })
		if shared := strings.Contains(typ, ".v1.event_") || strings.HasSuffix(typ, ".service_activated"); shared {
			require.False(t, ok, typ)
			continue
		}
		require.True(t, ok, typ)
		require.Equal(t, typ, p.EventType())
		known++
	}
	require.Greater(t, known, 50)
}

func TestChannelsAreComplete(t *testing.T) {
	t.Parallel()
	services := Services()
	for typ, c := range Channels {
		require.NotEmpty(t, c.Consumers, "nobody reads %s", typ)
		require.Subset(t, services, c.Consumers, typ)
		require.NotEmpty(t, c.Subject, typ)
	}
}

// subject is a contract that has a Go type.
type subject struct {
	schema string
	parse  func([]byte) error
}

func parser[P any, PP interface {
	*P
	payload
}](b []byte) error {
	e := event.New()
	e.DataEncoded = b
	_, err := Parse[P, PP](e)
	return err
}

// subjects are all types' contracts, those that services share once, and what
// producers outside send.
func subjects() []subject {
	list := []subject{{"arrival/v1/arrival.json", parser[Arrival]}}
	shared := map[string]func([]byte) error{
		"service_activated": parser[ServiceActivated], "event_parked": parser[EventParked],
		"event_retried": parser[EventRetried], "event_discarded": parser[EventDiscarded],
	}
	for name, parse := range shared {
		list = append(list, subject{"types/v1/" + name + ".json", parse})
	}
	for _, c := range Channels {
		if shared[strings.TrimSuffix(path.Base(c.Schema), ".json")] != nil {
			continue
		}
		list = append(list, subject{c.Schema, func(b []byte) error { return c.Check(b) }})
	}
	return list
}

func readGoldens(t testing.TB, schema, prefix string) map[string][]byte {
	t.Helper()
	dir := path.Join(path.Dir(schema), "testdata", strings.TrimSuffix(path.Base(schema), ".json"))
	names, err := fs.Glob(goldens, dir+"/"+prefix+"-*.json")
	require.NoError(t, err)
	found := map[string][]byte{}
	for _, name := range names {
		raw, err := fs.ReadFile(goldens, name)
		require.NoError(t, err)
		found[name] = raw
	}
	return found
}

func valid(t testing.TB, s *jsonschema.Schema, raw []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	return s.Validate(v)
}

// What the schema says of a golden payload, the typed validator says as well.
func TestGoldenPayloads(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	for _, sub := range subjects() {
		s := c.MustCompile(contracts.BaseURL + sub.schema)
		t.Run(sub.schema, func(t *testing.T) {
			t.Parallel()
			good, bad := readGoldens(t, sub.schema, "valid"), readGoldens(t, sub.schema, "invalid")
			require.GreaterOrEqual(t, len(good), 2, "a full and a minimal payload are wanted")
			require.GreaterOrEqual(t, len(bad), 2, "several invalid payloads are wanted")
			for name, raw := range good {
				require.NoError(t, valid(t, s, raw), name)
				require.NoError(t, sub.parse(raw), name)
			}
			for name, raw := range bad {
				require.Error(t, valid(t, s, raw), name)
				require.ErrorIs(t, sub.parse(raw), ErrInvalid, name)
			}
		})
	}
}

// The volume topics' payloads have goldens, too; their readers are the services'.
func TestGoldenInferenceRecords(t *testing.T) {
	t.Parallel()
	const schema = "inference/v1/record.json"
	s := compiler(t).MustCompile(contracts.BaseURL + schema)
	for name, raw := range readGoldens(t, schema, "valid") {
		require.NoError(t, valid(t, s, raw), name)
	}
	bad := readGoldens(t, schema, "invalid")
	require.NotEmpty(t, bad)
	for name, raw := range bad {
		require.Error(t, valid(t, s, raw), name)
	}
}

// Schemas and typed validators agree on every payload that differs from a golden
// one in a few places.
func TestValidatorsAgree(t *testing.T) {
	t.Parallel()
	c := compiler(t)
	for _, sub := range subjects() {
		s := c.MustCompile(contracts.BaseURL + sub.schema)
		raw := readGoldens(t, sub.schema, "valid")
		t.Run(sub.schema, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				v := decodeGolden(rt, raw)
				for range rapid.IntRange(1, 3).Draw(rt, "changes") {
					v = mutate(rt, v)
				}
				text, err := json.Marshal(v)
				require.NoError(t, err)
				bySchema, byType := valid(t, s, text), sub.parse(text)
				if (bySchema == nil) != (byType == nil) {
					rt.Fatalf("%s\nschema: %v\ntype:   %v", text, bySchema, byType)
				}
			})
		})
	}
}

func decodeGolden(rt *rapid.T, goldens map[string][]byte) any {
	names := make([]string, 0, len(goldens))
	for name := range goldens {
		names = append(names, name)
	}
	return decodeNumbers(rt, goldens[rapid.SampledFrom(slices.Sorted(slices.Values(names))).Draw(rt, "golden")])
}

func decodeNumbers(rt *rapid.T, raw []byte) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		rt.Fatal(err)
	}
	return v
}

// odd are values that breach one constraint or another. An empty string is not
// among them: where a string is optional, a Go struct takes it for absent, and
// never writes it.
var odd = []string{`null`, `true`, `-1`, `0`, `7`, `1.5`, `"x"`, `"flights.*>"`, `"no such choice"`, `"2001-01-06T00:00:00Z"`, `"2001-01-06"`,
	`"1h30m"`, `"90 minutes"`, `"sha256:00"`, `"` + strings.Repeat("é", 120) + `"`, `"` + strings.Repeat("x", 129) + `"`, `"` + strings.Repeat("x", 4097) + `"`,
	`[]`, `[null]`, `["x"]`, `{}`, `{"x":"y"}`, `{"x":1}`}

func drawOdd(rt *rapid.T) any {
	return decodeNumbers(rt, []byte(rapid.SampledFrom(odd).Draw(rt, "value")))
}

// mutate replaces, removes or adds one thing somewhere in v.
func mutate(rt *rapid.T, v any) any {
	switch x := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(x))
		for k := range x {
			keys = append(keys, k)
		}
		if len(keys) == 0 || rapid.IntRange(0, 9).Draw(rt, "here") == 0 {
			x["added_later"] = drawOdd(rt)
			return x
		}
		k := rapid.SampledFrom(slices.Sorted(slices.Values(keys))).Draw(rt, "key")
		switch rapid.IntRange(0, 3).Draw(rt, "what") {
		case 0:
			delete(x, k)
		case 1:
			x[k] = drawOdd(rt)
		default:
			x[k] = mutate(rt, x[k])
		}
		return x
	case []any:
		if len(x) == 0 || rapid.Bool().Draw(rt, "append") {
			return append(x, drawOdd(rt))
		}
		i := rapid.IntRange(0, len(x)-1).Draw(rt, "index")
		x[i] = mutate(rt, x[i])
		return x
	}
	return drawOdd(rt)
}

// Every type's golden payload survives: parse, construct, encode, decode, parse.
func TestGoldenPayloadsTravel(t *testing.T) {
	t.Parallel()
	for typ, c := range Channels {
		for name, raw := range readGoldens(t, c.Schema, "valid") {
			p := c.payload()
			require.NoError(t, json.Unmarshal(raw, p), name)
			e, err := draft(typ, "default", "x", p)
			require.NoError(t, err, name)
			e = complete(e)
			b, err := Codec{}.Encode(e)
			require.NoError(t, err, name)
			got, err := Codec{}.Decode(b)
			require.NoError(t, err, name)
			requireSame(t, e, got)
			require.NoError(t, c.Check(got.Data()), name)
			require.JSONEq(t, string(raw), string(got.Data()), fmt.Sprintf("%s lost something on the way", name))
		}
	}
}

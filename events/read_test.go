package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events/internal/strictjson"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// payloads are all types of the contracts by the schema that has their goldens.
func payloads() map[string]func() payload {
	list := map[string]func() payload{"arrival/v1/arrival.json": func() payload { return &Arrival{} }}
	for _, c := range Channels {
		schema := c.Schema
		switch c.payload().(type) {
		case *ServiceActivated, *EventParked, *EventRetried, *EventDiscarded:
			schema = "types/v1/" + path.Base(schema)
		}
		list[schema] = c.payload
	}
	return list
}

// reference reads a payload as the generated readers must: it is the scanner's
// strictness, then the struct's tags held against the text, then encoding/json.
func reference(b []byte, p payload) error {
	if _, err := strictjson.Check(b); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return err
	}
	if err := fits(v, reflect.TypeOf(p).Elem()); err != nil {
		return err
	}
	return json.Unmarshal(b, p)
}

// fits reports whether a value has the members and kinds that a type demands.
func fits(v any, t reflect.Type) error {
	wrong := fmt.Errorf("%T for %s", v, t)
	switch t {
	case reflect.TypeFor[any]():
		return nil
	case reflect.TypeFor[time.Time](), reflect.TypeFor[Duration]():
		if _, ok := v.(string); !ok {
			return wrong
		}
		return nil
	}
	switch x := v.(type) {
	case string:
		if t.Kind() == reflect.String {
			return nil
		}
	case bool:
		if t.Kind() == reflect.Bool {
			return nil
		}
	case json.Number:
		if t.Kind() == reflect.Float64 || t.Kind() == reflect.Int64 && !strings.ContainsAny(x.String(), ".eE") {
			return nil
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for _, item := range x {
				if err := fits(item, t.Elem()); err != nil {
					return err
				}
			}
			return nil
		}
	case map[string]any:
		if t.Kind() == reflect.Map {
			for _, item := range x {
				if err := fits(item, t.Elem()); err != nil {
					return err
				}
			}
			return nil
		}
		if t.Kind() == reflect.Struct {
			return memberFits(x, t)
		}
	}
	return wrong
}

func memberFits(v map[string]any, t reflect.Type) error {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		for other := range v {
			if other != name && strings.EqualFold(other, name) && !hasMember(t, other) {
				return fmt.Errorf("%s for %s", other, name)
			}
		}
		member, ok := v[name]
		if !ok && options == "" {
			return fmt.Errorf("no %s", name)
		}
		kind := f.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if ok {
			if err := fits(member, kind); err != nil {
				return err
			}
		}
	}
	return nil
}

func hasMember(t reflect.Type, name string) bool {
	for i := range t.NumField() {
		if n, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); n == name {
			return true
		}
	}
	return false
}

// agree reads a text both ways and demands the same verdict and the same struct,
// and of what was read the same bytes.
func agree(t testing.TB, b []byte, fresh func() payload) (accepted bool) {
	t.Helper()
	got, want := fresh(), fresh()
	given := slices.Clone(b)
	err, reason := strictjson.Read(b, got.read), reference(b, want)
	require.Equal(t, reason == nil, err == nil, "%s\nreference: %v\nreader:    %v", b, reason, err)
	if err != nil {
		require.Less(t, len(err.Error()), 1000, "an error must not repeat a huge input")
		return false
	}
	require.Equal(t, want, got, "%s", b)
	requireBytes(t, got)
	for i := range b {
		b[i] = 'x'
	}
	require.Equal(t, want, got, "what was read shares its bytes with the text %s", given)
	return true
}

func requireBytes(t testing.TB, p payload) {
	t.Helper()
	want, reason := json.Marshal(p)
	got, err := strictjson.Write(p.write)
	require.Equal(t, reason == nil, err == nil, "encoding/json: %v, writer: %v", reason, err)
	require.Equal(t, string(want), string(got))
}

// Texts near a golden one are read, or refused, as the reference does.
func TestReadersAgree(t *testing.T) {
	t.Parallel()
	for schema, fresh := range payloads() {
		raw := readGoldens(t, schema, "valid")
		require.NotEmpty(t, raw, schema)
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			for name, text := range raw {
				require.True(t, agree(t, slices.Clone(text), fresh), name)
			}
			for _, text := range readGoldens(t, schema, "invalid") {
				agree(t, slices.Clone(text), fresh)
			}
			rapid.Check(t, func(rt *rapid.T) {
				v := decodeGolden(rt, raw)
				for range rapid.IntRange(0, 3).Draw(rt, "changes") {
					v = mutate(rt, v)
				}
				text, err := json.Marshal(v)
				require.NoError(t, err)
				for range rapid.IntRange(0, 2).Draw(rt, "edits") {
					text = edit(rt, text)
				}
				agree(t, text, fresh)
			})
		})
	}
}

// insertions are texts that change what a reader sees, wherever they land.
var insertions = []string{`"`, `\`, `,`, `:`, `{`, `}`, `[`, `]`, ` `, "\n", `.5`, `e3`, `E400`, `-`, `0`, `99999999999999999999`, `null`, `\u0041`,
	`\u0000`, `\ud800`,
	`\ud83d\ude00`, "\x00", "\x1f", "\xff", "é", "\u2028", "K", `<&>`, `"a":1,`, `"a":null,`, `"dataset":"x",`, `"Model":"x",`, `"version":1,`, `1e5,`, `true`,
	`,"a":{"b":[{}]},"a":1`, `,"\u0061":1`, strings.Repeat(`[`, 70)}

// edit changes text as text: what follows from it need not be JSON.
func edit(rt *rapid.T, text []byte) []byte {
	at := rapid.IntRange(0, len(text)).Draw(rt, "at")
	switch rapid.IntRange(0, 4).Draw(rt, "edit") {
	case 0: // a letter's case
		if at < len(text) {
			text[at] ^= 0x20
		}
		return text
	case 1: // a part twice
		to := min(len(text), at+rapid.IntRange(1, 40).Draw(rt, "length"))
		return slices.Concat(text[:to], text[at:])
	case 2: // a part less
		to := min(len(text), at+rapid.IntRange(1, 8).Draw(rt, "length"))
		return slices.Concat(text[:at], text[to:])
	case 3: // a byte in a string as an escape
		if quote := bytes.IndexByte(text[at:], '"'); quote >= 0 && at+quote+1 < len(text) {
			i := at + quote + 1
			return slices.Concat(text[:i], fmt.Appendf(nil, `\u%04x`, text[i]), text[i+1:])
		}
	}
	return slices.Concat(text[:at], []byte(rapid.SampledFrom(insertions).Draw(rt, "insertion")), text[at:])
}

func FuzzRead(f *testing.F) {
	list := payloads()
	schemas := slices.Sorted(maps.Keys(list))
	for i, schema := range schemas {
		for _, text := range readGoldens(f, schema, "valid") {
			f.Add(i, text)
		}
	}
	f.Fuzz(func(t *testing.T, i int, text []byte) {
		if i >= 0 {
			agree(t, slices.Clone(text), list[schemas[i%len(schemas)]])
		}
	})
}

// Whatever a struct holds, the writers give the bytes that encoding/json gives,
// or refuse it as well.
func TestWritersAgree(t *testing.T) {
	t.Parallel()
	for schema, fresh := range payloads() {
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewSource(1))
			for range 100 {
				p := fresh()
				fill(random, reflect.ValueOf(p).Elem())
				requireBytes(t, p)
			}
		})
	}
}

var (
	strange = []string{"", "x", "a\"b\\c", "<b>&amp;</b>", "\x00\x01\x1f\x7f", "\b\f\n\r\t", "é😀", "a\u2028b\u2029", "\xff", "a\xe2\x80", "\xed\xa0\x80",
		strings.Repeat("long ", 30), strings.Repeat("x", 7) + "<", strings.Repeat("x", 8) + "\"", strings.Repeat("é", 9) + "\\"}
	strangeNumbers = []float64{0, math.Copysign(0, -1), 1, -1.5, 0.1, 1e-6, 9.99e-7, 1e-9, 1e-10, 1.5e-300, 1e20, 1e21, -1e21, 123456789.125,
		math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 53}
	strangeTimes = []time.Time{{}, time.Unix(0, 1).UTC(), time.Date(2001, 1, 6, 1, 2, 3, 120_000_000, time.UTC),
		time.Date(2001, 1, 6, 1, 2, 3, 0, time.FixedZone("", 5400)), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}
	refused = []any{math.NaN(), math.Inf(1), func() {}}
)

// fill puts something into every field of v, now and then something that JSON
// has no form for.
func fill(random *rand.Rand, v reflect.Value) {
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(strangeTimes[random.Intn(len(strangeTimes))]))
		if random.Intn(200) == 0 {
			v.Set(reflect.ValueOf(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)))
		}
		return
	case reflect.TypeFor[Duration]():
		v.SetInt(random.Int63n(1 << random.Intn(62)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(strange[random.Intn(len(strange))])
	case reflect.Bool:
		v.SetBool(random.Intn(2) == 0)
	case reflect.Int64:
		v.SetInt([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1000}[random.Intn(6)])
	case reflect.Float64:
		v.SetFloat(strangeNumbers[random.Intn(len(strangeNumbers))])
		if random.Intn(200) == 0 {
			v.SetFloat(math.Inf(-1))
		}
	case reflect.Pointer:
		if random.Intn(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(random, v.Elem())
		}
	case reflect.Slice:
		if n := random.Intn(4); n < 3 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(random, v.Index(i))
			}
		}
	case reflect.Map:
		if n := random.Intn(20); n < 19 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				item := reflect.New(v.Type().Elem()).Elem()
				fill(random, item)
				v.SetMapIndex(reflect.ValueOf(strange[random.Intn(len(strange))]+fmt.Sprint(random.Intn(30))), item)
			}
		}
	case reflect.Interface:
		choices := []any{nil, "<x>", 1.5, 1e-9, true, 7, []any{"a", nil, 2.0}, map[string]any{"b": []any{}, "a": map[string]any{}}, json.Number("12"),
			strangeTimes[2]}
		if random.Intn(50) == 0 {
			choices = refused
		}
		if choice := choices[random.Intn(len(choices))]; choice != nil {
			v.Set(reflect.ValueOf(choice))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(random, v.Field(i))
		}
	}
}

// What a person sees of a refusal names the place and the reason.
func TestReadersSayWhere(t *testing.T) {
	t.Parallel()
	object := `{"digest":"sha256:` + strings.Repeat("0", 64) + `","uri":"objects:x","size":1}`
	for text, want := range map[string]string{
		`{"on":"x"}`:                         "note is required",
		`{"on":"x","note":null}`:             "note: malformed event: byte 17 is 'n', where an object belongs",
		`{"on":"x","note":{}}`:               "note: malformed event: digest is required",
		`{"on":7,"note":` + object + `}`:     "on: malformed event: byte 6 is '7', where a string belongs",
		`{"On":"x","note":` + object:         `"On" differs from "on" in case`,
		`{"on":"x","on":"y"}`:                `the key "on" appears twice`,
		`{"on":"x","z":1,"z":2}`:             `the key "z" appears twice`,
		`{"on":"x","note":` + object:         "the JSON ends at byte",
		`{"on":"x","note":` + object + `}{}`: "bytes follow the JSON value",
		strings.Replace(`{"on":"x","note":`+object+`}`, `"size":1`, `"size":1.5`, 1):                 "note: size: malformed event: 1.5 at byte",
		strings.Replace(`{"on":"x","note":`+object+`}`, `"size":1`, `"size":9223372036854775808`, 1): "is not an integer of 64 bits",
	} {
		err := parse([]byte(text), &NoteAdded{})
		require.ErrorIs(t, err, ErrInvalid, text)
		require.ErrorContains(t, err, want, text)
	}
	deep := parse([]byte(`{"rule":"x","rows":1,"later":`+strings.Repeat("[", 65)+strings.Repeat("]", 65)+`}`), &RuleFailure{})
	require.ErrorContains(t, deep, "nested deeper than 64")
	list := parse([]byte(`{"model":"m","version":1,"gates":[{"name":"g","cel":"c","passed":true,"values":{"a":1,"b":"x"}}]}`), &CandidatePassed{})
	require.ErrorContains(t, list, "gates: [0]: values: b: ")
}

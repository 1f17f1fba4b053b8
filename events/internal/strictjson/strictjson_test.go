package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/freshet-io/freshet/events/internal/strictjson"
	"github.com/stretchr/testify/require"
)

func TestCheckIsStricterThanEncodingJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a":1,"a":2}`:            `the key "a" appears twice`,
		`{"x":{"a":1,"\u0061":2}}`: `the key "a" appears twice`,
		`"\u0000"`:                 "a NUL character at byte 1",
		`"\ud800"`:                 "an unpaired surrogate at byte 1",
		"\"\xff\"":                 "invalid UTF-8",
		`1 2`:                      "bytes follow the JSON value at byte 2",
		`01`:                       "bytes follow the JSON value at byte 1",
		`{"a":1,}`:                 "where a key belongs",
		strings.Repeat("[", 70):    "nested deeper than 64",
	} {
		_, err := strictjson.Check([]byte(text))
		require.ErrorIs(t, err, strictjson.ErrMalformed, text)
		require.ErrorContains(t, err, want, text)
	}
	p, err := strictjson.Check([]byte(" {\"a\":[1.5e3,null,\"\\ud83d\\ude00\"]}\n"))
	require.NoError(t, err)
	require.Equal(t, 1, p.From)
}

func TestWriteGivesWhatEncodingJSONGives(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a<b>&c", "\u2028", "\x01\b\f\n\r\t\"\\", strings.Repeat("é", 9)} {
		want, err := json.Marshal(text)
		require.NoError(t, err)
		got, err := strictjson.Write(func(w *strictjson.Writer) { strictjson.WriteString(&text, w) })
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

// What Check accepts, encoding/json accepts, and a Reader reads the same value.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{`{"a":[1,-0.5e-9,true,null,"\u00e9\n"]}`, `"\ud83d\ude00"`, ` [ ] `, `{"":{}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := strictjson.Check(text); err != nil {
			return
		}
		require.True(t, utf8.Valid(text) && json.Valid(text), "%q", text)
		var want, got any
		if json.Unmarshal(text, &want) != nil { // a number beyond 64 bits
			return
		}
		require.NoError(t, strictjson.Read(text, func(r *strictjson.Reader) { strictjson.ReadAny(&got, r) }))
		require.Equal(t, want, got)
	})
}

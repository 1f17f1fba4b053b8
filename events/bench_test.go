package events

import (
	"path"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
)

// benchNote is the event of the log's benchmark: a note of about 500 bytes.
func benchNote() NoteAdded {
	return NoteAdded{On: strings.Repeat("x", 100), Note: Object{Digest: "sha256:" + strings.Repeat("ab", 32), URI: "objects:" + strings.Repeat("u", 500),
		Size: 500}}
}

// benchEvents are a small and a large event as the log carries them.
func benchEvents(b *testing.B) map[string]event.Event {
	note, err := NewNoteAdded("default", "x", benchNote())
	require.NoError(b, err)
	list := map[string]event.Event{"note": complete(note)}
	for _, typ := range []string{TypeCandidateMeasured, TypeModelDeclared} {
		c := Channels[typ]
		raw := largest(readGoldens(b, c.Schema, "valid"))
		p := c.payload()
		require.NoError(b, parse(raw, p))
		e, err := draft(typ, "default", "x", p)
		require.NoError(b, err)
		list[strings.TrimSuffix(path.Base(c.Schema), ".json")] = complete(e)
	}
	return list
}

func largest(texts map[string][]byte) (most []byte) {
	for _, raw := range texts {
		if len(raw) > len(most) {
			most = raw
		}
	}
	return most
}

func BenchmarkEncode(b *testing.B) {
	for name, e := range benchEvents(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (Codec{}).Encode(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, e := range benchEvents(b) {
		raw, err := Codec{}.Encode(e)
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (Codec{}).Decode(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for name, e := range benchEvents(b) {
		c := Channels[e.Type()]
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(e.DataEncoded)))
			b.ReportAllocs()
			for b.Loop() {
				if err := parse(e.DataEncoded, c.payload()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDraft(b *testing.B) {
	for name, e := range benchEvents(b) {
		p := Channels[e.Type()].payload()
		require.NoError(b, parse(e.DataEncoded, p))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := draft(e.Type(), "default", "x", p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

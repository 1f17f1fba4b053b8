package events

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// A writer turns a generated struct into the bytes that encoding/json gives for
// it, to the last one: the digests and ids that were made of payloads stay what
// they are.
type writer struct {
	b   []byte
	err error // the first value that JSON has no form for
}

var writers = sync.Pool{New: func() any { return &writer{b: make([]byte, 0, 4096)} }}

func write(p payload) ([]byte, error) {
	w := writers.Get().(*writer)
	w.b, w.err = w.b[:0], nil
	p.write(w)
	b, err := slices.Clone(w.b), w.err
	if cap(w.b) <= 2*MaxEvent {
		writers.Put(w)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (w *writer) open()  { w.b = append(w.b, '{') }
func (w *writer) close() { w.b = append(w.b, '}') }

// key writes a member's name, which needs no escapes, and what belongs around it.
func (w *writer) key(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func writeString(v *string, w *writer) { w.b = appendText(w.b, *v) }

// appendText writes a string as encoding/json does: safe within HTML.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := textTo(s, 0); i < len(s); i = textTo(s, i) {
		c, size := rune(s[i]), 1
		if c >= utf8.RuneSelf {
			if c, size = utf8.DecodeRuneInString(s[i:]); c != '\u2028' && c != '\u2029' && (c != utf8.RuneError || size > 1) {
				i += size
				continue
			}
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', byte(c))
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', hexDigits[c>>12&15], hexDigits[c>>8&15], hexDigits[c>>4&15], hexDigits[c&15])
		}
		i += size
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

func writeTime(v *time.Time, w *writer) {
	w.b = append(w.b, '"')
	b, err := v.AppendText(w.b)
	if err != nil {
		w.fail(err)
		return
	}
	b = append(b, '"')
	w.b = b
}

func writeDuration(v *Duration, w *writer) { w.b = appendText(w.b, time.Duration(*v).String()) }

func writeInteger(v *int64, w *writer) { w.b = strconv.AppendInt(w.b, *v, 10) }

func writeBoolean(v *bool, w *writer) { w.b = strconv.AppendBool(w.b, *v) }

// writeNumber writes a number as encoding/json, and so JavaScript, does.
func writeNumber(v *float64, w *writer) {
	f := *v
	if math.IsInf(f, 0) || math.IsNaN(f) {
		w.fail(fmt.Errorf("%g is no number of JSON", f))
		return
	}
	abs := math.Abs(f)
	if abs == 0 || abs >= 1e-6 && abs < 1e21 {
		w.b = strconv.AppendFloat(w.b, f, 'f', -1, 64)
		return
	}
	b := strconv.AppendFloat(w.b, f, 'e', -1, 64)
	if n := len(b); b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' {
		b[n-2] = b[n-1] // e-09 is e-9
		b = b[:n-1]
	}
	w.b = b
}

func writeAny(v *any, w *writer) {
	switch x := (*v).(type) {
	case string:
		writeString(&x, w)
	case float64:
		writeNumber(&x, w)
	case bool:
		writeBoolean(&x, w)
	default:
		b, err := json.Marshal(x)
		if err != nil {
			w.fail(err)
			return
		}
		w.b = append(w.b, b...)
	}
}

func writeList[T any](v []T, w *writer, item func(*T, *writer)) {
	if v == nil {
		w.b = append(w.b, "null"...)
		return
	}
	w.b = append(w.b, '[')
	for i := range v {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		item(&v[i], w)
	}
	w.b = append(w.b, ']')
}

// writeMap writes a map's members by name.
func writeMap[T any](v map[string]T, w *writer, value func(*T, *writer)) {
	if v == nil {
		w.b = append(w.b, "null"...)
		return
	}
	var array [16]string
	names := array[:0]
	for name := range v { //purity:allow the keys are sorted before they are written
		names = append(names, name)
	}
	slices.Sort(names)
	w.b = append(w.b, '{')
	var x T
	for i, name := range names {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = append(appendText(w.b, name), ':')
		x = v[name]
		value(&x, w)
	}
	w.b = append(w.b, '}')
}

package strictjson

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

// A Writer turns a generated struct into the bytes that encoding/json gives for
// it, to the last one: the digests and ids that were made of payloads stay what
// they are.
type Writer struct {
	b   []byte
	err error // the first value that JSON has no form for
}

// keptBuffer is the largest buffer that is kept for the next value.
const keptBuffer = 128 << 10

var writers = sync.Pool{New: func() any { return &Writer{b: make([]byte, 0, 4096)} }}

// Write returns what from writes: one value.
func Write(from func(*Writer)) ([]byte, error) {
	w := writers.Get().(*Writer)
	w.b, w.err = w.b[:0], nil
	from(w)
	b, err := slices.Clone(w.b), w.err
	if cap(w.b) <= keptBuffer {
		writers.Put(w)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (w *Writer) Open()  { w.b = append(w.b, '{') }
func (w *Writer) Close() { w.b = append(w.b, '}') }

// Key writes a member's name, which needs no escapes, and what belongs around it.
func (w *Writer) Key(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func WriteString(v *string, w *Writer) { w.b = appendText(w.b, *v) }

const hexDigits = "0123456789abcdef"

// AppendString writes a string with no more escapes than JSON demands; s is valid UTF-8.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := stringTo(s, 0); i < len(s); i = stringTo(s, from) {
		b = append(b, s[from:i]...)
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		from = i + 1
	}
	return append(append(b, s[from:]...), '"')
}

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

func WriteTime(v *time.Time, w *Writer) {
	w.b = append(w.b, '"')
	b, err := v.AppendText(w.b)
	if err != nil {
		w.fail(err)
		return
	}
	b = append(b, '"')
	w.b = b
}

// WriteDuration writes a duration as Go does.
func WriteDuration[D ~int64](v *D, w *Writer) { w.b = appendText(w.b, time.Duration(*v).String()) }

func WriteInteger(v *int64, w *Writer) { w.b = strconv.AppendInt(w.b, *v, 10) }

func WriteBoolean(v *bool, w *Writer) { w.b = strconv.AppendBool(w.b, *v) }

// WriteNumber writes a number as encoding/json, and so JavaScript, does.
func WriteNumber(v *float64, w *Writer) {
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

func WriteAny(v *any, w *Writer) {
	switch x := (*v).(type) {
	case string:
		WriteString(&x, w)
	case float64:
		WriteNumber(&x, w)
	case bool:
		WriteBoolean(&x, w)
	default:
		b, err := json.Marshal(x)
		if err != nil {
			w.fail(err)
			return
		}
		w.b = append(w.b, b...)
	}
}

func WriteList[T any](v []T, w *Writer, item func(*T, *Writer)) {
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

// WriteMap writes a map's members by name.
func WriteMap[T any](v map[string]T, w *Writer, value func(*T, *Writer)) {
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

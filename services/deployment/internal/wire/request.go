package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

type jsonRequest struct {
	ID         string         `json:"id"`
	Parameters map[string]any `json:"parameters"`
	Inputs     []jsonInput    `json:"inputs"`
	Outputs    []jsonOutput   `json:"outputs"`
}

type jsonInput struct {
	Name       string          `json:"name"`
	Shape      []int64         `json:"shape"`
	Datatype   string          `json:"datatype"`
	Parameters map[string]any  `json:"parameters"`
	Data       json.RawMessage `json:"data"`
}

type jsonOutput struct {
	Name       string         `json:"name"`
	Parameters map[string]any `json:"parameters"`
}

// Parse reads a request. Header is the value of Inference-Header-Content-Length,
// empty where the body is JSON alone; limit is the most elements a tensor may have.
func Parse(body []byte, header string, limit int) (*Request, error) {
	text, blob := body, []byte(nil)
	if header != "" {
		n, err := strconv.Atoi(header)
		if err != nil || n < 0 || n > len(body) {
			return nil, malformed("Inference-Header-Content-Length is %q and the body has %d bytes", header, len(body))
		}
		text, blob = body[:n], body[n:]
	}
	if !utf8.Valid(text) {
		return nil, malformed("the JSON is not valid UTF-8")
	}
	var in jsonRequest
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&in); err != nil {
		var typed *json.UnmarshalTypeError
		if errors.As(err, &typed) {
			where := "the body"
			if typed.Field != "" {
				where = strconv.Quote(typed.Field)
			}
			return nil, malformed("%s is not what an inference request has there: it is a JSON %s", where, typed.Value)
		}
		return nil, malformed("the body is not a JSON object: %v", err)
	}
	if len(bytes.TrimSpace(text[dec.InputOffset():])) > 0 {
		return nil, malformed("there is text after the JSON object")
	}
	if len(in.Inputs) == 0 {
		return nil, malformed("there are no inputs")
	}
	r := &Request{ID: in.ID, Inputs: make([]Tensor, len(in.Inputs))}
	var err error
	if r.Binary, err = flag(in.Parameters, "binary_data_output", "the request"); err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(in.Inputs))
	for i := range in.Inputs {
		if seen[in.Inputs[i].Name] {
			return nil, malformed("input %q is given twice", in.Inputs[i].Name)
		}
		seen[in.Inputs[i].Name] = true
		if blob, err = in.Inputs[i].read(&r.Inputs[i], blob, limit); err != nil {
			return nil, err
		}
	}
	if len(blob) > 0 {
		return nil, malformed("%d bytes of binary data belong to no input", len(blob))
	}
	for _, o := range in.Outputs {
		out := Output{Name: o.Name, Binary: r.Binary}
		if _, said := o.Parameters["binary_data"]; said {
			if out.Binary, err = flag(o.Parameters, "binary_data", "output "+strconv.Quote(o.Name)); err != nil {
				return nil, err
			}
		}
		r.Outputs = append(r.Outputs, out)
	}
	return r, nil
}

func flag(parameters map[string]any, name, of string) (bool, error) {
	v, ok := parameters[name]
	if !ok {
		return false, nil
	}
	b, ok := v.(bool)
	if !ok {
		return false, malformed("parameter %s of %s is not true or false", name, of)
	}
	return b, nil
}

func (in *jsonInput) read(t *Tensor, blob []byte, limit int) (rest []byte, err error) {
	if in.Name == "" {
		return nil, malformed("an input has no name")
	}
	dt, ok := datatypes[in.Datatype]
	if !ok {
		return nil, malformed("input %q has datatype %q; BYTES, BOOL, INT8 to INT64, UINT8 to UINT64, FP32 and FP64 are taken", in.Name, in.Datatype)
	}
	if in.Shape == nil {
		return nil, malformed("input %q has no shape", in.Name)
	}
	n, err := elements(in.Name, in.Shape, limit)
	if err != nil {
		return nil, err
	}
	*t = Tensor{Name: in.Name, Datatype: in.Datatype, Shape: in.Shape}
	size, isBinary := in.Parameters["binary_data_size"]
	if !isBinary {
		if in.Data == nil {
			return nil, malformed("input %q has no data", in.Name)
		}
		return blob, t.parse(in.Data, n)
	}
	if in.Data != nil {
		return nil, malformed("input %q has both data and binary_data_size", in.Name)
	}
	bytesWanted, ok := size.(float64)
	if !ok || bytesWanted != math.Trunc(bytesWanted) || bytesWanted < 0 || bytesWanted > float64(len(blob)) {
		return nil, malformed("input %q has binary_data_size %v and %d bytes are left", in.Name, size, len(blob))
	}
	own, rest := blob[:int(bytesWanted)], blob[int(bytesWanted):]
	return rest, t.decode(own, n, dt.kind, dt.size, dt.unsigned)
}

// decode reads binary data: little-endian, row-major; BYTES elements are a
// length of four bytes and the bytes.
func (t *Tensor) decode(b []byte, n int, k kind, size int, unsigned bool) error {
	if k == bytesKind {
		t.Strings = make([]string, 0, min(n, len(b)/4))
		for len(b) > 0 {
			if len(b) < 4 {
				return malformed("input %q ends within an element's length", t.Name)
			}
			l := int64(binary.LittleEndian.Uint32(b))
			if b = b[4:]; l > int64(len(b)) {
				return malformed("input %q has an element of %d bytes where %d are left", t.Name, l, len(b))
			}
			if !utf8.Valid(b[:l]) {
				return malformed("element %d of input %q is not valid UTF-8", len(t.Strings), t.Name)
			}
			t.Strings = append(t.Strings, string(b[:l]))
			b = b[l:]
		}
		return t.fits(len(t.Strings), n)
	}
	if len(b) != n*size {
		return malformed("input %q has shape %v, that is %d bytes, and %d bytes of data", t.Name, t.Shape, n*size, len(b))
	}
	word := func(i int) uint64 {
		switch p := b[i*size:]; size {
		case 1:
			return uint64(p[0])
		case 2:
			return uint64(binary.LittleEndian.Uint16(p))
		case 4:
			return uint64(binary.LittleEndian.Uint32(p))
		default:
			return binary.LittleEndian.Uint64(p)
		}
	}
	switch k {
	case boolKind:
		t.Bools = make([]bool, n)
		for i := range n {
			if b[i] > 1 {
				return malformed("element %d of input %q is %d; a BOOL is 0 or 1", i, t.Name, b[i])
			}
			t.Bools[i] = b[i] == 1
		}
	case intKind:
		t.Ints = make([]int64, n)
		for i := range n {
			v := word(i)
			if unsigned {
				if v > math.MaxInt64 {
					return malformed("element %d of input %q is above %d", i, t.Name, int64(math.MaxInt64))
				}
				t.Ints[i] = int64(v)
			} else {
				shift := uint(64 - 8*size)
				t.Ints[i] = int64(v<<shift) >> shift
			}
		}
	default:
		t.Floats = make([]float64, n)
		for i := range n {
			if size == 4 {
				t.Floats[i] = float64(math.Float32frombits(uint32(word(i))))
			} else {
				t.Floats[i] = math.Float64frombits(word(i))
			}
			if math.IsNaN(t.Floats[i]) || math.IsInf(t.Floats[i], 0) {
				return malformed("element %d of input %q is not a finite number", i, t.Name)
			}
		}
	}
	return nil
}

func (t *Tensor) fits(got, want int) error {
	if got != want {
		return malformed("input %q has shape %v, that is %d elements, and %d elements of data", t.Name, t.Shape, want, got)
	}
	return nil
}

// parse reads JSON data, flat or nested in any way. Raw is valid JSON.
func (t *Tensor) parse(raw []byte, n int) error {
	dt := datatypes[t.Datatype]
	switch dt.kind {
	case bytesKind:
		t.Strings = make([]string, 0, min(n, len(raw)))
	case intKind:
		t.Ints = make([]int64, 0, min(n, len(raw)))
	case floatKind:
		t.Floats = make([]float64, 0, min(n, len(raw)))
	default:
		t.Bools = make([]bool, 0, min(n, len(raw)))
	}
	if len(raw) == 0 || raw[0] != '[' {
		return malformed("the data of input %q is not an array", t.Name)
	}
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case '[', ']', ',', ' ', '\t', '\n', '\r':
			i++
			continue
		case '{':
			return malformed("the data of input %q holds an object", t.Name)
		case '"':
			end := i + 1
			for escaped := false; escaped || raw[end] != '"'; end++ {
				escaped = !escaped && raw[end] == '\\'
			}
			if err := t.text(raw[i : end+1]); err != nil {
				return err
			}
			i = end + 1
		default:
			end := i
			for end < len(raw) && !delimiter(raw[end]) {
				end++
			}
			if err := t.literal(string(raw[i:end])); err != nil {
				return err
			}
			i = end
		}
		if t.Len() > n {
			break
		}
	}
	if t.Len() > n {
		return malformed("input %q has shape %v, that is %d elements, and more elements of data", t.Name, t.Shape, n)
	}
	return t.fits(t.Len(), n)
}

func delimiter(c byte) bool {
	return c == ',' || c == ']' || c == '[' || c == ' ' || c == '\t' || c == '\n' || c == '\r'
}

func (t *Tensor) text(quoted []byte) error {
	if datatypes[t.Datatype].kind != bytesKind {
		return malformed("element %d of input %q is a string; its datatype is %s", t.Len(), t.Name, t.Datatype)
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		t.Strings = append(t.Strings, string(quoted[1:len(quoted)-1]))
		return nil
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return malformed("element %d of input %q: %v", t.Len(), t.Name, err)
	}
	t.Strings = append(t.Strings, s)
	return nil
}

func (t *Tensor) literal(s string) error {
	dt := datatypes[t.Datatype]
	switch {
	case s == "null":
		return malformed("element %d of input %q is null", t.Len(), t.Name)
	case (s == "true" || s == "false") && dt.kind == boolKind:
		t.Bools = append(t.Bools, s == "true")
		return nil
	case dt.kind == intKind:
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil || v < dt.min || v > dt.max {
			return malformed("element %d of input %q is %s; that is no %s", t.Len(), t.Name, s, t.Datatype)
		}
		t.Ints = append(t.Ints, v)
		return nil
	case dt.kind == floatKind && s != "true" && s != "false":
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return malformed("element %d of input %q is %s; that is no %s", t.Len(), t.Name, s, t.Datatype)
		}
		if t.Datatype == "FP32" {
			v = float64(float32(v))
			if math.IsInf(v, 0) {
				return malformed("element %d of input %q is %s; that is no FP32", t.Len(), t.Name, s)
			}
		}
		t.Floats = append(t.Floats, v)
		return nil
	}
	return malformed("element %d of input %q is %s; its datatype is %s", t.Len(), t.Name, s, t.Datatype)
}

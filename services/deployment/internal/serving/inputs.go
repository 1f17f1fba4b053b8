package serving

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/services/deployment/internal/wire"
)

// inputs are a request's tensors, checked against what the versions take.
type inputs struct {
	rows   int
	fields map[string]*wire.Tensor // request fields
	types  map[string]string       // of request fields
	direct map[string][]float64    // feature columns given by name
	// ready holds request fields as JSON arrays, made when first needed
	ready map[string]json.RawMessage
}

// check sorts a request's tensors into request fields and features. All have one
// element a row: shape [n] or [n,1].
func check(r *wire.Request, versions []*Version) (*inputs, *Failure) {
	fields := map[string]string{}
	columns := map[string]bool{}
	for _, v := range versions {
		for _, f := range v.Fields {
			fields[f.Name] = f.Type
		}
		for _, c := range v.Columns {
			columns[c.Name] = true
		}
	}
	in := &inputs{rows: -1, types: fields, fields: map[string]*wire.Tensor{}, direct: map[string][]float64{}, ready: map[string]json.RawMessage{}}
	for i := range r.Inputs {
		t := &r.Inputs[i]
		if len(t.Shape) == 0 || len(t.Shape) > 2 || len(t.Shape) == 2 && t.Shape[1] != 1 {
			return nil, invalid("input %q has shape %v; [n] and [n,1] are taken: one value a row", t.Name, t.Shape)
		}
		n := int(t.Shape[0])
		if in.rows >= 0 && n != in.rows {
			return nil, invalid("input %q has %d rows, input %q has %d", t.Name, n, r.Inputs[0].Name, in.rows)
		}
		in.rows = n
		typ, isField := fields[t.Name]
		if isField {
			if f := checkField(t, typ); f != nil {
				return nil, f
			}
			in.fields[t.Name] = t
		}
		if columns[t.Name] {
			if values := numbers(t); values != nil {
				in.direct[t.Name] = values
			} else if !isField {
				return nil, invalid("input %q has datatype %s; a feature is FP64, FP32 or an integer", t.Name, t.Datatype)
			}
		} else if !isField {
			return nil, invalid("input %q is neither a request field nor a feature of %s", t.Name, names(versions))
		}
	}
	return in, nil
}

// datatypesOf are what a request field of a type may come as.
var datatypesOf = map[string]string{
	"string": "BYTES", "int64": "an integer type", "float": "FP64, FP32 or an integer type", "bool": "BOOL",
	"timestamp": "BYTES (RFC 3339) or INT64 (microseconds since 1970)",
}

func checkField(t *wire.Tensor, typ string) *Failure {
	var ok bool
	switch typ {
	case "string":
		ok = t.Datatype == "BYTES"
	case "int64":
		ok = t.Ints != nil
	case "float":
		ok = t.Ints != nil || t.Floats != nil
	case "bool":
		ok = t.Datatype == "BOOL"
	case "timestamp":
		ok = t.Datatype == "INT64" || t.Datatype == "BYTES"
	}
	if !ok {
		return invalid("input %q has datatype %s; a %s is %s", t.Name, t.Datatype, typ, datatypesOf[typ])
	}
	if typ != "timestamp" || t.Datatype != "BYTES" {
		return nil
	}
	for i, s := range t.Strings {
		if _, err := parseTime(s); err != nil {
			return invalid("element %d of input %q is %q, not a time as RFC 3339 writes it", i, t.Name, s)
		}
	}
	return nil
}

// parseTime reads RFC 3339, and the same without a zone as UTC.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err == nil {
		return t.UTC(), nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"} {
		if t, other := time.Parse(layout, s); other == nil {
			return t, nil
		}
	}
	return time.Time{}, err
}

func numbers(t *wire.Tensor) []float64 {
	switch {
	case t.Floats != nil:
		return t.Floats
	case t.Ints != nil:
		out := make([]float64, len(t.Ints))
		for i, v := range t.Ints {
			out[i] = float64(v)
		}
		return out
	}
	return nil
}

// entity is a request field as the feature server's JSON.
func (in *inputs) entity(name string) json.RawMessage {
	typ := in.types[name]
	if b, ok := in.ready[name]; ok {
		return b
	}
	t := in.fields[name]
	b := make([]byte, 1, 16*in.rows+2)
	b[0] = '['
	for i := range in.rows {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case typ == "timestamp":
			b = append(b, '"')
			b = timeOf(t, i).AppendFormat(b, time.RFC3339Nano)
			b = append(b, '"')
		case t.Ints != nil:
			b = strconv.AppendInt(b, t.Ints[i], 10)
		case t.Floats != nil:
			b = strconv.AppendFloat(b, t.Floats[i], 'g', -1, 64)
		case t.Bools != nil:
			b = strconv.AppendBool(b, t.Bools[i])
		default:
			q, err := json.Marshal(t.Strings[i])
			if err != nil { // strings always marshal
				q = []byte(`null`)
			}
			b = append(b, q...)
		}
	}
	b = append(b, ']')
	in.ready[name] = b
	return b
}

func timeOf(t *wire.Tensor, i int) time.Time {
	if t.Ints != nil {
		return time.UnixMicro(t.Ints[i]).UTC()
	}
	at, err := parseTime(t.Strings[i]) // checked before
	if err != nil {
		return time.Time{}
	}
	return at
}

// keys are the rows' prediction keys: the key field's values, else the request's
// id with the row's number.
func (in *inputs) keys(field, id string) []string {
	typ := in.types[field]
	keys := make([]string, in.rows)
	t := in.fields[field]
	for i := range keys {
		switch {
		case t == nil:
			keys[i] = id + "#" + strconv.Itoa(i)
		case typ == "timestamp":
			keys[i] = timeOf(t, i).Format(time.RFC3339Nano)
		case t.Ints != nil:
			keys[i] = strconv.FormatInt(t.Ints[i], 10)
		case t.Floats != nil:
			keys[i] = strconv.FormatFloat(t.Floats[i], 'g', -1, 64)
		case t.Bools != nil:
			keys[i] = strconv.FormatBool(t.Bools[i])
		default:
			keys[i] = t.Strings[i]
		}
	}
	return keys
}

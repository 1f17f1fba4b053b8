package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Append writes a response: JSON, and after it the binary data of the outputs
// that want it. Header is the length of the JSON, 0 where that is all.
func (r *Response) Append(b []byte) (body []byte, header int, err error) {
	var blobs []byte
	b = append(b, `{"model_name":`...)
	if b, err = appendString(b, r.ModelName); err != nil {
		return nil, 0, err
	}
	for _, f := range [][2]string{{"model_version", r.ModelVersion}, {"id", r.ID}} {
		if f[1] == "" {
			continue
		}
		b = append(b, `,"`+f[0]+`":`...)
		if b, err = appendString(b, f[1]); err != nil {
			return nil, 0, err
		}
	}
	b = append(b, `,"outputs":[`...)
	for i := range r.Outputs {
		if i > 0 {
			b = append(b, ',')
		}
		if b, blobs, err = r.Outputs[i].append(b, blobs); err != nil {
			return nil, 0, err
		}
	}
	b = append(b, `]}`...)
	if blobs == nil {
		return b, 0, nil
	}
	return append(b, blobs...), len(b), nil
}

func (t *Tensor) append(b, blobs []byte) ([]byte, []byte, error) {
	b = append(b, `{"name":`...)
	b, err := appendString(b, t.Name)
	if err != nil {
		return nil, nil, err
	}
	b = append(b, `,"datatype":"`+t.Datatype+`","shape":[`...)
	for i, d := range t.Shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, d, 10)
	}
	b = append(b, ']')
	if t.Binary {
		if blobs == nil {
			blobs = []byte{}
		}
		before := len(blobs)
		if blobs, err = t.encode(blobs); err != nil {
			return nil, nil, err
		}
		b = append(b, `,"parameters":{"binary_data_size":`...)
		b = strconv.AppendInt(b, int64(len(blobs)-before), 10)
		return append(b, `}}`...), blobs, nil
	}
	b = append(b, `,"data":[`...)
	for i := range t.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case t.Ints != nil:
			b = strconv.AppendInt(b, t.Ints[i], 10)
		case t.Floats != nil:
			if math.IsNaN(t.Floats[i]) || math.IsInf(t.Floats[i], 0) {
				return nil, nil, fmt.Errorf("element %d of output %q is not a finite number", i, t.Name)
			}
			b = strconv.AppendFloat(b, t.Floats[i], 'g', -1, 64)
		case t.Bools != nil:
			b = strconv.AppendBool(b, t.Bools[i])
		default:
			if b, err = appendString(b, t.Strings[i]); err != nil {
				return nil, nil, err
			}
		}
	}
	return append(b, `]}`...), blobs, nil
}

// encode writes the elements as binary data: outputs are FP64, INT64, BOOL or BYTES.
func (t *Tensor) encode(b []byte) ([]byte, error) {
	switch t.Datatype {
	case "FP64":
		for _, v := range t.Floats {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
	case "INT64":
		for _, v := range t.Ints {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	case "BOOL":
		for _, v := range t.Bools {
			if v {
				b = append(b, 1)
			} else {
				b = append(b, 0)
			}
		}
	case "BYTES":
		for _, s := range t.Strings {
			b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		}
	default:
		return nil, fmt.Errorf("output %q: datatype %s cannot be written", t.Name, t.Datatype)
	}
	return b, nil
}

func appendString(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			q, err := json.Marshal(s)
			return append(b, q...), err
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"'), nil
}

package wire

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseTakesFlatAndNestedData(t *testing.T) {
	t.Parallel()
	r, err := Parse([]byte(`{"id":"42","inputs":[
		{"name":"a","shape":[3,1],"datatype":"FP64","data":[[1],[2.5],[-3e2]]},
		{"name":"b","shape":[3],"datatype":"INT64","data":[1, -2 ,9223372036854775807]},
		{"name":"c","shape":[3],"datatype":"BYTES","data":["x","[\"y,\"]","\u00e9"]},
		{"name":"d","shape":[3],"datatype":"BOOL","data":[true,false,true]}],
		"outputs":[{"name":"late"}]}`), "", 1000)
	require.NoError(t, err)
	require.Equal(t, "42", r.ID)
	require.Equal(t, []float64{1, 2.5, -300}, r.Inputs[0].Floats)
	require.Equal(t, []int64{1, -2, math.MaxInt64}, r.Inputs[1].Ints)
	require.Equal(t, []string{"x", `["y,"]`, "é"}, r.Inputs[2].Strings)
	require.Equal(t, []bool{true, false, true}, r.Inputs[3].Bools)
	wanted, binary := r.Wants("late")
	require.True(t, wanted)
	require.False(t, binary)
	wanted, _ = r.Wants("model_version")
	require.False(t, wanted)
}

func TestParseRefusesAndSaysWhy(t *testing.T) {
	t.Parallel()
	input := func(s string) string { return `{"inputs":[` + s + `]}` }
	for name, c := range map[string]struct{ body, header, says string }{
		"no JSON":         {`{`, "", "EOF"},
		"text after":      {input(`{"name":"a","shape":[1],"datatype":"INT64","data":[1]}`) + "x", "", "after the JSON"},
		"no inputs":       {`{"inputs":[]}`, "", "no inputs"},
		"no name":         {input(`{"shape":[1],"datatype":"INT64","data":[1]}`), "", "no name"},
		"no shape":        {input(`{"name":"a","datatype":"INT64","data":[1]}`), "", "no shape"},
		"no data":         {input(`{"name":"a","shape":[1],"datatype":"INT64"}`), "", "no data"},
		"datatype":        {input(`{"name":"a","shape":[1],"datatype":"FP16","data":[1]}`), "", `datatype "FP16"`},
		"negative":        {input(`{"name":"a","shape":[-1],"datatype":"INT64","data":[1]}`), "", "negative"},
		"too many":        {input(`{"name":"a","shape":[1001],"datatype":"INT64","data":[1]}`), "", "at most 1000"},
		"overflow":        {input(`{"name":"a","shape":[4294967296,4294967296],"datatype":"INT64","data":[1]}`), "", "at most 1000"},
		"too few data":    {input(`{"name":"a","shape":[2],"datatype":"INT64","data":[1]}`), "", "2 elements, and 1"},
		"too much data":   {input(`{"name":"a","shape":[1],"datatype":"INT64","data":[1,2]}`), "", "more elements"},
		"fraction":        {input(`{"name":"a","shape":[1],"datatype":"INT64","data":[1.5]}`), "", "1.5; that is no INT64"},
		"out of range":    {input(`{"name":"a","shape":[1],"datatype":"INT8","data":[128]}`), "", "no INT8"},
		"null":            {input(`{"name":"a","shape":[1],"datatype":"FP64","data":[null]}`), "", "is null"},
		"string as int":   {input(`{"name":"a","shape":[1],"datatype":"INT64","data":["1"]}`), "", "is a string"},
		"number as bytes": {input(`{"name":"a","shape":[1],"datatype":"BYTES","data":[1]}`), "", "datatype is BYTES"},
		"object":          {input(`{"name":"a","shape":[1],"datatype":"BYTES","data":[{}]}`), "", "object"},
		"no array":        {input(`{"name":"a","shape":[1],"datatype":"INT64","data":1}`), "", "not an array"},
		"twice":           {input(`{"name":"a","shape":[1],"datatype":"INT64","data":[1]},{"name":"a","shape":[1],"datatype":"INT64","data":[1]}`), "", "twice"},
		"UTF-8":           {"{\"inputs\":[{\"name\":\"a\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"\xff\"]}]}", "", "UTF-8"},
		"header length":   {`{}`, "9", "Inference-Header-Content-Length"},
		"header text":     {`{}`, "x", "Inference-Header-Content-Length"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]byte(c.body), c.header, 1000)
			require.ErrorIs(t, err, ErrMalformed)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestBinaryTensorsComeThrough(t *testing.T) {
	t.Parallel()
	head := `{"inputs":[
		{"name":"s","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},
		{"name":"f","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},
		{"name":"i","shape":[1],"datatype":"INT16","parameters":{"binary_data_size":2}},
		{"name":"j","shape":[1],"datatype":"BOOL","data":[true]}],
		"outputs":[{"name":"o","parameters":{"binary_data":true}}]}`
	body := []byte(head)
	for _, s := range []string{"ab", "c"} {
		body = binary.LittleEndian.AppendUint32(body, uint32(len(s)))
		body = append(body, s...)
	}
	for _, f := range []float32{1.5, -2} {
		body = binary.LittleEndian.AppendUint32(body, math.Float32bits(f))
	}
	body = append(body, 0xfe, 0xff)
	r, err := Parse(body, strconv.Itoa(len(head)), 100)
	require.NoError(t, err)
	require.Equal(t, []string{"ab", "c"}, r.Inputs[0].Strings)
	require.Equal(t, []float64{1.5, -2}, r.Inputs[1].Floats)
	require.Equal(t, []int64{-2}, r.Inputs[2].Ints)
	_, isBinary := r.Wants("o")
	require.True(t, isBinary)

	_, err = Parse(append(body, 1), strconv.Itoa(len(head)), 100)
	require.ErrorContains(t, err, "belong to no input")
	_, err = Parse(body[:len(body)-1], strconv.Itoa(len(head)), 100)
	require.ErrorContains(t, err, `input "i"`)
}

func TestResponseInBothForms(t *testing.T) {
	t.Parallel()
	r := Response{ModelName: "flight-delays", ModelVersion: "3", ID: `a"b`, Outputs: []Tensor{
		{Name: "late", Datatype: "FP64", Shape: []int64{2}, Floats: []float64{0.25, 1e-9}},
		{Name: "model_version", Datatype: "INT64", Shape: []int64{2}, Ints: []int64{3, 4}, Binary: true},
	}}
	body, header, err := r.Append(nil)
	require.NoError(t, err)
	require.JSONEq(t, `{"model_name":"flight-delays","model_version":"3","id":"a\"b","outputs":[
		{"name":"late","datatype":"FP64","shape":[2],"data":[0.25,1e-9]},
		{"name":"model_version","datatype":"INT64","shape":[2],"parameters":{"binary_data_size":16}}]}`, string(body[:header]))
	require.Equal(t, uint64(4), binary.LittleEndian.Uint64(body[header+8:]))

	r.Outputs[0].Floats[0] = math.NaN()
	_, _, err = r.Append(nil)
	require.ErrorContains(t, err, "finite")
}

// What the suite writes it reads back the same, whatever the text and numbers.
func TestStringsSurvive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.String(), 1, 8).Draw(t, "strings")
		data, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		body := `{"inputs":[{"name":"a","shape":[` + strconv.Itoa(len(list)) + `],"datatype":"BYTES","data":` + string(data) + `}]}`
		r, err := Parse([]byte(body), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range r.Inputs[0].Strings {
			b, err := appendString(nil, s)
			if err != nil {
				t.Fatal(err)
			}
			var back string
			if err := json.Unmarshal(b, &back); err != nil || back != s {
				t.Fatalf("%d: %q came back as %q: %v", i, s, back, err)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"inputs":[{"name":"a","shape":[1],"datatype":"INT64","data":[1]}]}`), "")
	f.Add([]byte(`{"inputs":[{"name":"a","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}]}`+"\x01\x00\x00\x00a"), "83")
	f.Fuzz(func(_ *testing.T, body []byte, header string) {
		_, _ = Parse(body, header, 1000) // must not panic
	})
}

func TestErrorsNameNoTypesOfTheProgram(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`[]`, `"x"`, `{"inputs":5}`, `{"inputs":[{"shape":"a"}]}`, `nonsense`, ``} {
		_, err := Parse([]byte(body), "", 10)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "Go ")
		require.NotContains(t, err.Error(), "wire.")
	}
}

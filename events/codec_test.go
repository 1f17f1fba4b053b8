package events

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
)

const outsideEvent = `{"specversion":"1.0","id":"a1","source":"/producer","type":"com.example.arrived","time":"2001-01-06T00:00:00Z","datacontenttype":"application/json","data":{"rows":3}}`

// sample is a complete event of the log.
func sample(t testing.TB) event.Event {
	t.Helper()
	draft, err := NewGapFound("default", "log", GapFound{Sequence: 7, Expected: "sha256:" + strings.Repeat("ab", 32)})
	require.NoError(t, err)
	return complete(draft)
}

// complete gives a draft what the log gives it.
func complete(e event.Event) event.Event {
	e.SetID("0196a9f0-1b2c-5d3e-8f40-0123456789ab")
	e.SetSource(SourceOf(Channels[e.Type()].Owner))
	e.SetTime(time.Date(2001, 1, 19, 12, 30, 15, 123456789, time.UTC))
	e.SetExtension(ExtCorrelation, "0196a9f0-0000-7000-8000-0123456789ab")
	e.SetExtension(ExtCausation, "0196a9f0-0001-7000-8000-0123456789ab")
	e.SetExtension(ExtSequence, fmt.Sprintf("%020d", 42))
	e.SetExtension(ExtHops, 3)
	return e
}

func requireSame(t testing.TB, want, got event.Event) {
	t.Helper()
	require.Equal(t, want.ID(), got.ID())
	require.Equal(t, want.Source(), got.Source())
	require.Equal(t, want.Type(), got.Type())
	require.Equal(t, want.Subject(), got.Subject())
	require.True(t, want.Time().Equal(got.Time()), "%s is not %s", want.Time(), got.Time())
	require.Equal(t, want.DataContentType(), got.DataContentType())
	require.Equal(t, want.DataSchema(), got.DataSchema())
	require.Equal(t, want.Extensions(), got.Extensions())
	require.Equal(t, string(want.Data()), string(got.Data()))
	require.Equal(t, want.DataBase64, got.DataBase64)
}

func TestCodecRoundTrip(t *testing.T) {
	t.Parallel()
	want := sample(t)
	b, err := Codec{}.Encode(want)
	require.NoError(t, err)
	got, err := Codec{}.Decode(b)
	require.NoError(t, err)
	requireSame(t, want, got)
	again, err := Codec{}.Encode(got)
	require.NoError(t, err)
	require.Equal(t, string(b), string(again))
}

func TestDecodedEventDoesNotAliasItsBytes(t *testing.T) {
	t.Parallel()
	b := []byte(outsideEvent)
	e, err := DecodeStructured(b)
	require.NoError(t, err)
	for i := range b {
		b[i] = 'x'
	}
	require.Equal(t, "a1", e.ID())
	require.JSONEq(t, `{"rows":3}`, string(e.Data()))
}

// The SDK's reader agrees with what is written: other tools can read the log.
func TestEncodedEventIsReadByTheSDK(t *testing.T) {
	t.Parallel()
	want := sample(t)
	b, err := Codec{}.Encode(want)
	require.NoError(t, err)
	var got event.Event
	require.NoError(t, got.UnmarshalJSON(b))
	require.NoError(t, got.Validate())
	requireSame(t, want, got)
}

func TestDecodeStructuredRefuses(t *testing.T) {
	t.Parallel()
	with := func(old, replacement string) string {
		require.Contains(t, outsideEvent, old)
		return strings.Replace(outsideEvent, old, replacement, 1)
	}
	many := ""
	for i := range MaxExtensions + 1 {
		many += fmt.Sprintf(`"x%d":"v",`, i)
	}
	wide := `{"a":{`
	for i := range 200 {
		wide += fmt.Sprintf(`"k%d":1,`, i)
	}
	cases := map[string]struct {
		event string
		want  error
	}{
		"duplicate id":                  {with(`"id":"a1"`, `"id":"a1","id":"a2"`), ErrMalformed},
		"duplicate id, escaped":         {with(`"id":"a1"`, `"id":"a1","\u0069d":"a2"`), ErrMalformed},
		"duplicate extension":           {with(`"id":"a1"`, `"id":"a1","x":"1","x":"2"`), ErrMalformed},
		"duplicate key in data":         {with(`"rows":3`, `"rows":3,"rows":4`), ErrMalformed},
		"duplicate key deep in data":    {with(`"rows":3`, `"a":[{"b":1,"\u0062":2}]`), ErrMalformed},
		"duplicate among many keys":     {with(`{"rows":3}`, wide+`"k70":2}}`), ErrMalformed},
		"comma after many keys":         {with(`{"rows":3}`, wide+`}}`), ErrMalformed},
		"data and data_base64":          {with(`"data":`, `"data_base64":"AA==","data":`), ErrMalformed},
		"trailing bytes":                {outsideEvent + `{}`, ErrMalformed},
		"trailing comma":                {outsideEvent[:len(outsideEvent)-1] + `,}`, ErrMalformed},
		"NUL in id":                     {with(`"a1"`, `"a\u00001"`), ErrMalformed},
		"NUL in data":                   {with(`"rows":3`, `"rows":"\u0000"`), ErrMalformed},
		"NUL in a key of data":          {with(`"rows":3`, `"\u0000":3`), ErrMalformed},
		"raw NUL":                       {with(`"a1"`, "\"a\x001\""), ErrMalformed},
		"invalid UTF-8":                 {with(`"a1"`, "\"a\xff\""), ErrMalformed},
		"invalid UTF-8 in data":         {with(`"rows":3`, "\"rows\":\"\xc3\x28\""), ErrMalformed},
		"unpaired surrogate":            {with(`"rows":3`, `"rows":"\ud800"`), ErrMalformed},
		"id of 1 MB":                    {with(`"a1"`, `"`+strings.Repeat("a", 1<<20)+`"`), ErrTooLarge},
		"id over its limit":             {with(`"a1"`, `"`+strings.Repeat("a", MaxID+1)+`"`), ErrMalformed},
		"id outside ASCII":              {with(`"a1"`, `"ä"`), ErrMalformed},
		"empty id":                      {with(`"a1"`, `""`), ErrMalformed},
		"null id":                       {with(`"a1"`, `null`), ErrMalformed},
		"id a number":                   {with(`"a1"`, `1`), ErrMalformed},
		"type over its limit":           {with(`"com.example.arrived"`, `"`+strings.Repeat("t", MaxID+1)+`"`), ErrMalformed},
		"source over its limit":         {with(`"/producer"`, `"/`+strings.Repeat("s", MaxSource)+`"`), ErrMalformed},
		"source not a URI reference":    {with(`"/producer"`, `"1:2"`), ErrMalformed},
		"no source":                     {with(`"source":"/producer",`, ``), ErrMalformed},
		"extension 1.5":                 {with(`"id":"a1"`, `"id":"a1","x":1.5`), ErrMalformed},
		"extension 1e2":                 {with(`"id":"a1"`, `"id":"a1","x":1e2`), ErrMalformed},
		"extension over 32 bits":        {with(`"id":"a1"`, `"id":"a1","x":2147483648`), ErrMalformed},
		"extension an object":           {with(`"id":"a1"`, `"id":"a1","x":{}`), ErrMalformed},
		"extension with a bad name":     {with(`"id":"a1"`, `"id":"a1","X_y":"1"`), ErrMalformed},
		"too many extensions":           {with(`"id":"a1"`, many+`"id":"a1"`), ErrMalformed},
		"specversion 0.3":               {with(`"1.0"`, `"0.3"`), ErrMalformed},
		"specversion 2.0":               {with(`"1.0"`, `"2.0"`), ErrMalformed},
		"no specversion":                {with(`"specversion":"1.0",`, ``), ErrMalformed},
		"nested 10,000 deep":            {with(`3`, strings.Repeat(`[`, 10000)+strings.Repeat(`]`, 10000)), ErrMalformed},
		"nested 200,000 deep":           {with(`3`, strings.Repeat(`[`, 200000)+strings.Repeat(`]`, 200000)), ErrTooLarge},
		"64 KB + 1":                     {padded(MaxEvent + 1), ErrTooLarge},
		"time in year 0":                {with(`2001-01-06`, `0000-01-06`), ErrMalformed},
		"time in 100 years":             {with(`2001-`, fmt.Sprint(time.Now().Year()+100)+"-"), ErrMalformed},
		"time without a zone":           {with(`00:00:00Z`, `00:00:00`), ErrMalformed},
		"CRLF in subject":               {with(`"id":"a1"`, `"id":"a1","subject":"a\r\nb"`), ErrMalformed},
		"CRLF in an extension":          {with(`"id":"a1"`, `"id":"a1","x":"a\r\nNats-Rollup: all"`), ErrMalformed},
		"noncharacter in an attribute":  {with(`"id":"a1"`, `"id":"a1","x":"\uffff"`), ErrMalformed},
		"no delimiter after a key":      {with(`"id":"a1"`, `"id" "a1"`), ErrMalformed},
		"a key without an end":          {`{"id`, ErrMalformed},
		"nothing":                       {``, ErrMalformed},
		"not an object":                 {`[]`, ErrMalformed},
		"bad base64":                    {with(`"data":{"rows":3}`, `"data_base64":"A"`), ErrMalformed},
		"leading zero":                  {with(`3`, `03`), ErrMalformed},
		"NaN":                           {with(`3`, `NaN`), ErrMalformed},
		"non-string data of text/plain": {with(`application/json`, `text/plain`), ErrMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodeStructured([]byte(c.event))
			require.ErrorIs(t, err, c.want)
			require.Less(t, len(err.Error()), 300, "an error must not repeat a huge input")
		})
	}
}

// padded is an outside event of exactly n bytes.
func padded(n int) string {
	const empty = `{"specversion":"1.0","id":"a1","source":"/p","type":"t","data":""}`
	return empty[:len(empty)-2] + strings.Repeat("x", n-len(empty)) + `"}`
}

func TestDecodeStructuredAccepts(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]string{
		"plain":                      outsideEvent,
		"exactly 64 KB":              padded(MaxEvent),
		"white space around":         " \r\n" + outsideEvent + "\n",
		"an integer extension":       strings.Replace(outsideEvent, `"id":"a1"`, `"id":"a1","x":-5,"y":true,"z":"ü"`, 1),
		"null optional":              strings.Replace(outsideEvent, `"id":"a1"`, `"id":"a1","subject":null,"x":null`, 1),
		"text data":                  `{"specversion":"1.0","id":"a","source":"s","type":"t","datacontenttype":"text/plain","data":"a\nb"}`,
		"binary data":                `{"specversion":"1.0","id":"a","source":"s","type":"t","data_base64":"AAEC"}`,
		"attributes after data":      `{"specversion":"1.0","data":{"data":1},"id":"a1","source":"/p","x":"\"data\":","type":"t","subject":"s","time":"2001-01-06T00:00:00Z"}`,
		"data named in an attribute": `{"specversion":"1.0","id":"a1","source":"/p","x":"\"data\":","type":"t","data":"d"}`,
		"data with a space":          `{"specversion":"1.0","id":"a1","source":"/p","type":"t","data" : "d"}`,
		"surrogate pair in data":     strings.Replace(outsideEvent, `3`, `"\ud83d\ude00"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := DecodeStructured([]byte(s))
			require.NoError(t, err)
			require.NoError(t, e.Validate())
			requireRoundTrip(t, e)
		})
	}
}

func requireRoundTrip(t testing.TB, e event.Event) {
	t.Helper()
	b, err := EncodeStructured(e)
	require.NoError(t, err)
	again, err := DecodeStructured(b)
	require.NoError(t, err, "%s", b)
	requireSame(t, e, again)
	b2, err := EncodeStructured(again)
	require.NoError(t, err)
	require.Equal(t, string(b), string(b2))
}

func TestCodecDemandsTheEnvelope(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*event.Event)
		want   error
	}{
		"unknown type":              {func(e *event.Event) { e.SetType("io.freshet.audit.v1.nonsense") }, ErrMalformed},
		"another service's source":  {func(e *event.Event) { e.SetSource("/freshet/registry") }, ErrReserved},
		"a host in the source":      {func(e *event.Event) { e.SetSource("//evil/freshet/audit") }, ErrReserved},
		"another dataschema":        {func(e *event.Event) { e.SetDataSchema("https://example.com/x.json") }, ErrMalformed},
		"no namespace":              {func(e *event.Event) { e.SetExtension(ExtNamespace, nil) }, ErrMalformed},
		"a namespace with a dot >":  {func(e *event.Event) { e.SetExtension(ExtNamespace, "a.>") }, ErrMalformed},
		"no correlationid":          {func(e *event.Event) { e.SetExtension(ExtCorrelation, nil) }, ErrMalformed},
		"no causationid":            {func(e *event.Event) { e.SetExtension(ExtCausation, nil) }, ErrMalformed},
		"its own cause":             {func(e *event.Event) { e.SetExtension(ExtCausation, e.ID()) }, ErrMalformed},
		"no sequence":               {func(e *event.Event) { e.SetExtension(ExtSequence, nil) }, ErrMalformed},
		"sequence not padded":       {func(e *event.Event) { e.SetExtension(ExtSequence, "42") }, ErrMalformed},
		"no hops":                   {func(e *event.Event) { e.SetExtension(ExtHops, nil) }, ErrMalformed},
		"negative hops":             {func(e *event.Event) { e.SetExtension(ExtHops, -1) }, ErrMalformed},
		"no time":                   {func(e *event.Event) { e.Context.(*event.EventContextV1).Time = nil }, ErrMalformed},
		"no subject":                {func(e *event.Event) { e.SetSubject("") }, ErrMalformed},
		"no payload":                {func(e *event.Event) { e.DataEncoded = nil }, ErrMalformed},
		"a payload that is a list":  {func(e *event.Event) { e.DataEncoded = []byte(`[]`) }, ErrMalformed},
		"a payload that is broken":  {func(e *event.Event) { e.DataEncoded = []byte(`{"a":1`) }, ErrMalformed},
		"a payload with two values": {func(e *event.Event) { e.DataEncoded = []byte(`{"a":1}{}`) }, ErrMalformed},
		"a payload over 64 KB": {func(e *event.Event) {
			e.DataEncoded = []byte(`{"a":"` + strings.Repeat("x", MaxEvent) + `"}`)
		}, ErrTooLarge},
		"an id with a line break": {func(e *event.Event) { e.SetID("a\r\nb") }, ErrMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := sample(t)
			c.change(&e)
			_, err := Codec{}.Encode(e)
			require.ErrorIs(t, err, c.want)
		})
	}
	t.Run("a root names itself", func(t *testing.T) {
		t.Parallel()
		e := sample(t)
		e.SetExtension(ExtCausation, nil)
		e.SetExtension(ExtCorrelation, e.ID())
		_, err := Codec{}.Encode(e)
		require.NoError(t, err)
	})
	t.Run("a payload by reference", func(t *testing.T) {
		t.Parallel()
		e := sample(t)
		e.DataEncoded = nil
		e.SetExtension(ExtDataRef, "objects:sha256:"+strings.Repeat("0", 64))
		e.SetExtension(ExtDataDigest, "sha256:"+strings.Repeat("0", 64))
		b, err := Codec{}.Encode(e)
		require.NoError(t, err)
		got, err := Codec{}.Decode(b)
		require.NoError(t, err)
		requireSame(t, e, got)
	})
	t.Run("an outside event", func(t *testing.T) {
		t.Parallel()
		_, err := Codec{}.Decode([]byte(outsideEvent))
		require.ErrorIs(t, err, ErrMalformed)
	})
}

// One flipped, dropped or doubled byte gives a refusal or another event, never
// a panic, and what is accepted still survives the round trip.
func TestDecodeSurvivesDamage(t *testing.T) {
	t.Parallel()
	b, err := Codec{}.Encode(sample(t))
	require.NoError(t, err)
	random := rand.New(rand.NewSource(1))
	for range 20000 {
		c := append([]byte(nil), b...)
		i := random.Intn(len(c))
		switch random.Intn(3) {
		case 0:
			c[i] = byte(random.Intn(256))
		case 1:
			c = append(c[:i], c[i+1:]...)
		default:
			c = append(c[:i+1], c[i:]...)
		}
		if e, err := DecodeStructured(c); err == nil {
			requireRoundTrip(t, e)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Codec{}.Encode(sample(f))
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte(outsideEvent))
	f.Add([]byte(`{"specversion":"1.0","id":"a","source":"s:x","type":"t","datacontenttype":"text/plain","data":"a\u000ab"}`))
	f.Add([]byte(`{"specversion":"1.0","id":"a","source":"//h/%2F?q#f","type":"t","data_base64":"AAEC","x":-1,"y":false}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeStructured(b)
		if err != nil {
			return
		}
		requireRoundTrip(t, e)
		if _, err := (Codec{}).Decode(b); err == nil {
			_, err = Codec{}.Encode(e)
			require.NoError(t, err)
		}
	})
}

// Events share the values of their attributes: what is set on one of them must
// not reach another.
func TestSettersChangeOneEventOnly(t *testing.T) {
	t.Parallel()
	b, err := Codec{}.Encode(sample(t))
	require.NoError(t, err)
	decoded, err := Codec{}.Decode(b)
	require.NoError(t, err)
	drafted, err := NewCancelAsked("default", "x", CancelAsked{Run: "r", Model: "m"})
	require.NoError(t, err)
	clone := decoded.Clone()
	for _, e := range []event.Event{decoded, drafted, clone} {
		e.SetDataSchema("https://example.com/other.json")
		e.SetDataContentType("text/plain")
		e.SetSource("/other")
		e.SetSubject("other")
		e.SetTime(time.Unix(0, 0))
		e.SetExtension("x", "other")
		require.NoError(t, e.Context.SetType("other"))
	}
	again, err := Codec{}.Encode(sample(t))
	require.NoError(t, err)
	require.Equal(t, string(b), string(again))
	redecoded, err := Codec{}.Decode(b)
	require.NoError(t, err)
	requireSame(t, sample(t), redecoded)
}

package events

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
)

func request(body string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/arrivals", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// headers of a binary event; more adds to them.
func headers(more ...string) []string {
	return append([]string{"Ce-Specversion", "1.0", "Ce-Id", "a1", "Ce-Source", "/p", "Ce-Type", "t"}, more...)
}

func TestDecodeHTTP(t *testing.T) {
	t.Parallel()
	structured := []string{"Content-Type", "application/cloudevents+json; charset=utf-8"}
	cases := map[string]struct {
		r    *http.Request
		want error
	}{
		"structured":                 {request(outsideEvent, structured...), nil},
		"structured without a type":  {request(outsideEvent), nil},
		"binary":                     {request(`{"a":1}`, headers("Content-Type", "application/json")...), nil},
		"binary, quoted and encoded": {request(`x`, headers("Content-Type", "text/plain", "Ce-Subject", `"caf%C3%A9 \"x\""`)...), nil},
		"binary without data":        {request(``, headers()...), nil},
		"a batch":                    {request(`[]`, "Content-Type", "application/cloudevents-batch+json"), ErrUnsupported},
		"another format":             {request(``, "Content-Type", "application/cloudevents+avro"), ErrUnsupported},
		"no event":                   {request(`a,b`, "Content-Type", "text/csv"), ErrUnsupported},
		"too large":                  {request(padded(MaxEvent+1), structured...), ErrTooLarge},
		"too large, length unknown":  {unsized(padded(MaxEvent + 1)), ErrTooLarge},
		"duplicate key in data":      {request(`{"a":1,"a":2}`, headers("Content-Type", "application/json")...), ErrMalformed},
		"NUL in data":                {request(`{"a":"\u0000"}`, headers("Content-Type", "application/json")...), ErrMalformed},
		"two values":                 {request(``, headers("Ce-Id", "a2")...), ErrMalformed},
		"two content types":          {request(`{}`, headers("Content-Type", "a/b", "Content-Type", "c/d")...), ErrMalformed},
		"a type in two places":       {request(`{}`, headers("Content-Type", "a/b", "Ce-Datacontenttype", "c/d")...), ErrMalformed},
		"CRLF, encoded":              {request(``, headers("Ce-X", "a%0D%0ANats-Rollup:%20all")...), ErrMalformed},
		"NUL, encoded":               {request(``, headers("Ce-X", "a%00")...), ErrMalformed},
		"invalid UTF-8, encoded":     {request(``, headers("Ce-X", "%ff")...), ErrMalformed},
		"a broken percent sequence":  {request(``, headers("Ce-X", "%4")...), ErrMalformed},
		"another specversion":        {request(``, "Ce-Specversion", "0.3", "Ce-Id", "a", "Ce-Source", "/p", "Ce-Type", "t"), ErrMalformed},
		"data as a header":           {request(``, headers("Ce-Data", "x")...), ErrMalformed},
		"a header CloudEvents bans":  {request(``, headers("Ce-X_y", "x")...), ErrMalformed},
		"a service's source":         {request(strings.Replace(outsideEvent, "/producer", "/freshet/registry", 1), structured...), ErrReserved},
		"a service's type":           {request(``, "Ce-Specversion", "1.0", "Ce-Id", "a", "Ce-Source", "/p", "Ce-Type", TypeChampionChanged), ErrReserved},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := DecodeHTTP(c.r, 0)
			require.ErrorIs(t, err, c.want)
			if err == nil {
				require.NoError(t, e.Validate())
				requireRoundTrip(t, e)
			}
		})
	}
	e, err := DecodeHTTP(request(`x`, headers("Content-Type", "text/plain", "Ce-Subject", `"caf%C3%A9 \"x\""`)...), 0)
	require.NoError(t, err)
	require.Equal(t, `café "x"`, e.Subject())
}

func unsized(body string) *http.Request {
	r := request(body, "Content-Type", contentStructured)
	r.ContentLength = -1
	return r
}

func TestKafkaRoundTrip(t *testing.T) {
	t.Parallel()
	e := event.New()
	e.SetID("r-1")
	e.SetSource("/freshet/deployment")
	e.SetType("io.freshet.deployment.v1.inference")
	e.SetSubject("flight-delays")
	e.SetExtension("namespace", "default")
	require.NoError(t, e.SetData(contentJSON, map[string]any{"rows": strings.Repeat("x", MaxEvent)}))
	value, headers, err := EncodeKafka(e)
	require.NoError(t, err)
	require.Equal(t, "application/json", headers["content-type"])
	require.Equal(t, "r-1", headers["ce_id"])
	got, err := DecodeKafka([]byte("default/r-1"), value, headers)
	require.NoError(t, err)
	requireSame(t, e, got)
}

func TestDecodeKafkaRefuses(t *testing.T) {
	t.Parallel()
	binary := func(more ...string) map[string]string {
		h := map[string]string{"ce_specversion": "1.0", "ce_id": "a", "ce_source": "/p", "ce_type": "t", "content-type": contentJSON}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	cases := map[string]struct {
		headers map[string]string
		value   string
		want    error
	}{
		"a type of the log":        {binary("ce_type", TypeDataCommitted), `{}`, ErrReserved},
		"no id":                    {binary("ce_id", ""), `{}`, ErrMalformed},
		"CRLF":                     {binary("ce_x", "a\r\nb"), `{}`, ErrMalformed},
		"the same attribute twice": {binary("CE_ID", "b"), `{}`, ErrMalformed},
		"broken JSON":              {binary(), `{"a":}`, ErrMalformed},
		"over the limit":           {binary(), `"` + strings.Repeat("x", MaxVolumeData) + `"`, ErrTooLarge},
		"no event at all":          {nil, `a,b`, ErrUnsupported},
		"a tombstone":              {nil, ``, ErrUnsupported},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodeKafka(nil, []byte(c.value), c.headers)
			require.ErrorIs(t, err, c.want)
		})
	}
	e, err := DecodeKafka(nil, []byte(outsideEvent), map[string]string{"Content-Type": contentStructured})
	require.NoError(t, err)
	require.Equal(t, "a1", e.ID())
}

func TestDecodeNATS(t *testing.T) {
	t.Parallel()
	evil := map[string][]string{
		"Nats-Rollup": {"all"}, "Nats-TTL": {"1"}, "Nats-Trace-Dest": {"x"}, "Nats-Msg-Id": {"m"},
		"content-type": {contentStructured},
	}
	e, err := DecodeNATS(evil, []byte(outsideEvent))
	require.NoError(t, err)
	require.Empty(t, e.Extensions(), "a header that steers the server became part of the event")

	e, err = DecodeNATS(map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"a"}, "ce-source": {"/p"}, "ce-type": {"t"}, "ce-x": {"a%20b"},
		"ce-datacontenttype": {contentJSON}, "Nats-Rollup": {"all"},
	}, []byte(`{"a":1}`))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"x": "a b"}, e.Extensions())
	require.Equal(t, contentJSON, e.DataContentType())

	_, err = DecodeNATS(map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"a\r\nb"}, "ce-source": {"/p"}, "ce-type": {"t"}}, nil)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = DecodeNATS(nil, []byte(padded(MaxEvent+1)))
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = DecodeNATS(nil, []byte(strings.Replace(outsideEvent, "com.example.arrived", TypeApprovalGiven, 1)))
	require.ErrorIs(t, err, ErrReserved)

	header, data, err := EncodeNATS(e)
	require.NoError(t, err)
	again, err := DecodeNATS(header, data)
	require.NoError(t, err)
	requireSame(t, e, again)
}

// Whatever a header holds, an accepted event survives the round trip.
func FuzzDecodeHTTPHeader(f *testing.F) {
	f.Add("subject", "caf%C3%A9", []byte(`{}`))
	f.Add("x", `"a\"b"`, []byte(``))
	f.Fuzz(func(t *testing.T, name, value string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header["Ce-Specversion"] = []string{"1.0"}
		r.Header["Ce-Id"] = []string{"a"}
		r.Header["Ce-Source"] = []string{"/p"}
		r.Header["Ce-Type"] = []string{"t"}
		r.Header["Ce-"+name] = []string{value}
		if e, err := DecodeHTTP(r, 0); err == nil {
			requireRoundTrip(t, e)
		}
	})
}

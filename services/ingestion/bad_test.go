package ingestion_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

func TestAnotherEventWithTheSameIdentityIsAConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	one, two := b.upload(csv("a,2001-01-05,1,A,B")), b.upload(csv("b,2001-01-05,1,A,B"))
	status, _ := b.do("POST", "/v1/arrivals", structured, arrival("same", "flights", one))
	require.Equal(t, http.StatusAccepted, status)
	status, body := b.do("POST", "/v1/arrivals", structured, arrival("same", "flights", two))
	require.Equal(t, http.StatusConflict, status, body)
	require.NoError(t, b.NATS.Publish("freshet-in.default.x", []byte(arrival("same", "flights", two))))
	require.NoError(t, b.Kafka.Produce(t.Context(), "freshet.in", kafka.Record{Key: []byte("default"), Value: []byte(arrival("same", "flights", two)),
		Headers: []kafka.Header{{Key: "content-type", Value: []byte(structured)}}}))
	b.Settle(t.Context())
	require.Equal(t, []string{"conflict", "conflict", "conflict"}, b.quarantined())
	n := 0
	for _, e := range b.Events() {
		if e.Type() == events.TypeDataArrived {
			n++
		}
	}
	require.Equal(t, 1, n)
}

func TestBadEventsOverHTTP(t *testing.T) {
	t.Parallel()
	b := setup(t)
	uri := "objects:" + strings.Repeat("0", 64)
	good := arrival("x", "flights", uri)
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"another service's source", strings.Replace(good, `"/producer"`, `"/freshet/registry"`, 1), http.StatusForbidden},
		{"our own source", strings.Replace(good, `"/producer"`, `"/freshet/ingestion"`, 1), http.StatusForbidden},
		{"another service's type", strings.Replace(good, "com.example.arrived", events.TypeChampionChanged, 1), http.StatusForbidden},
		{"a name of 5,000 characters", strings.Replace(good, `"flights"`, `"`+strings.Repeat("f", 5000)+`"`, 1), http.StatusBadRequest},
		{"a wildcard", strings.Replace(good, `"flights"`, `"*"`, 1), http.StatusBadRequest},
		{"an API subject", strings.Replace(good, `"flights"`, `"$JS.API.STREAM.PURGE.FRESHET_1"`, 1), http.StatusBadRequest},
		{"an id twice", strings.Replace(good, `"id":"x"`, `"id":"x","id":"y"`, 1), http.StatusBadRequest},
		{"data twice", strings.Replace(good, `"id":"x"`, `"id":"x","data_base64":"eA=="`, 1), http.StatusBadRequest},
		{"bytes after the end", good + "x", http.StatusBadRequest},
		{"a NUL", strings.Replace(good, `"id":"x"`, `"id":"x\u0000"`, 1), http.StatusBadRequest},
		{"a NUL in data", strings.Replace(good, `"flights"`, `"fl\u0000ights"`, 1), http.StatusBadRequest},
		{"not UTF-8", strings.Replace(good, "flights", "fl\xff", 1), http.StatusBadRequest},
		{"an id of a megabyte", strings.Replace(good, `"id":"x"`, `"id":"`+strings.Repeat("i", 1<<20)+`"`, 1), http.StatusRequestEntityTooLarge},
		{"a long id", strings.Replace(good, `"id":"x"`, `"id":"`+strings.Repeat("i", 200)+`"`, 1), http.StatusBadRequest},
		{"a fraction", strings.Replace(good, `"id":"x"`, `"id":"x","hops":1.5`, 1), http.StatusBadRequest},
		{"an old specversion", strings.Replace(good, `"1.0"`, `"0.3"`, 1), http.StatusBadRequest},
		{"too deep", strings.Replace(good, `"data":{`, `"data":{"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`,`, 1), http.StatusBadRequest},
		{"too large", strings.Replace(good, `"data":{`, `"data":{"x":"`+strings.Repeat("x", 64<<10)+`",`, 1), http.StatusRequestEntityTooLarge},
		{"year 0", strings.Replace(good, `"id":"x"`, `"id":"x","time":"0000-01-01T00:00:00Z"`, 1), http.StatusBadRequest},
		{"no files", `{"specversion":"1.0","id":"x","source":"/p","type":"t","data":{"dataset":"flights","files":[]}}`, http.StatusBadRequest},
		{"no data", `{"specversion":"1.0","id":"x","source":"/p","type":"t"}`, http.StatusBadRequest},
		{"an object that nobody uploaded", good, http.StatusBadRequest},
		{"a foreign namespace", strings.Replace(good, `"id":"x"`, `"id":"x","namespace":"a.b c"`, 1), http.StatusBadRequest},
	} {
		status, body := b.do("POST", "/v1/arrivals", structured, c.body)
		require.Equal(t, c.status, status, "%s: %s", c.name, body)
	}
	status, _ := b.do("POST", "/v1/arrivals?namespace=other", structured, strings.Replace(good, `"id":"x"`, `"id":"x","namespace":"mine"`, 1))
	require.Equal(t, http.StatusBadRequest, status, "an event cannot claim another namespace than its address")
	b.Settle(t.Context())
	for _, e := range b.Events() {
		require.NotEqual(t, events.TypeDataArrived, e.Type(), "a refused input leaves nothing in the log")
	}
}

func TestFilesThatAreNotTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	outside := filepath.Join(t.TempDir(), "outside.csv")
	require.NoError(t, os.WriteFile(outside, []byte("a\n1\n"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(b.inbox, "link.csv")))
	require.NoError(t, os.Symlink(filepath.Dir(outside), filepath.Join(b.inbox, "dir")))
	require.NoError(t, os.Mkdir(filepath.Join(b.inbox, "folder"), 0o755))
	for _, uri := range []string{
		"../../etc/passwd", "file:../../etc/passwd", "file:%2e%2e/etc/passwd", "file:%252e%252e%252fetc", "http:///#/../../etc", "file:///proc/self/environ",
		"file:" + outside, "file:link.csv", "file:dir/outside.csv", "file:folder", "file:nothing.csv", "file://evil.example/x", "file:a//b", "file:./a",
		`file:a\b`, "file:",
		"http://169.254.169.254/latest", "https://example.com/x.csv", "s3://bucket/x", "objects:../../x", "objects:" + strings.Repeat("A", 64), "data:,x", "gopher:x",
	} {
		status, body := b.do("POST", "/v1/arrivals", structured, arrival("f", "flights", uri))
		require.Equal(t, http.StatusBadRequest, status, "%s: %s", uri, body)
		require.NotContains(t, body, outside[:len(outside)-12]+"x")
	}
	status, _ := b.do("PUT", "/v1/files", "", "")
	require.Equal(t, http.StatusBadRequest, status)
}

func TestBadEventsFromStreamsNeverBlock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	uri := b.upload(csv("a,2001-01-05,1,A,B"))
	publish := func(subject, body string) {
		require.NoError(t, b.NATS.PublishMsg(&nats.Msg{Subject: subject, Data: []byte(body)}))
	}
	publish("freshet-in.default.x", "{")
	publish("freshet-in.default.x", strings.Replace(arrival("1", "flights", uri), "/producer", "/freshet/audit", 1))
	publish("freshet-in."+eventlog.Token("a.b > *")+".x", arrival("2", "flights", uri))
	publish("freshet-in.other.x", strings.Replace(arrival("3", "flights", uri), `"id"`, `"namespace":"default","id"`, 1))
	publish("freshet-in.default.x", arrival("4", strings.Repeat("n", 5000), uri))
	publish("freshet-in.default.x", "{\"specversion\":\"1.0\x00\"")
	publish("freshet-in.default.x", arrival("5", "flights", "file:../x"))
	publish("freshet-in.default.good", arrival("6", "flights", uri))
	b.AwaitType(events.TypeDataCommitted, 1)
	require.NoError(t, b.Kafka.Produce(t.Context(), "freshet.in",
		kafka.Record{Value: nil},
		kafka.Record{Key: []byte("default"), Value: []byte("{}"), Headers: []kafka.Header{{Key: "ce_id", Value: []byte("x")}, {Key: "ce_id", Value: []byte("y")}}},
		kafka.Record{Key: []byte("default"), Value: []byte(strings.Replace(arrival("7", "flights", uri), "com.example.arrived", "io.freshet.audit.v1.gap_found", 1))},
		kafka.Record{Key: []byte("default/x"), Value: []byte(arrival("8", "flights", b.upload(csv("k,2001-01-05,1,A,B"))))}))
	b.AwaitType(events.TypeDataCommitted, 2)
	b.Settle(t.Context())
	require.ElementsMatch(t, []string{"malformed", "reserved", "namespace", "namespace", "payload", "malformed", "file", "malformed", "malformed",
		"reserved"}, b.quarantined())
	require.True(t, b.NATS.IsConnected())
}

func TestValidateExplains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	status, body := b.do("POST", "/v1/validate", "application/yaml", strings.Replace(modelYAML, "label:", "labl:", 1))
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"valid":false`)
	require.Contains(t, body, `write \"label\" instead`)
	status, body = b.do("POST", "/v1/validate?file=datasets/flights.yaml", "application/yaml", datasetYAML)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"valid":true,"problems":[]}`, body)
	status, _ = b.do("POST", "/v1/validate?file=../etc/passwd", "application/yaml", datasetYAML)
	require.Equal(t, http.StatusBadRequest, status)
}

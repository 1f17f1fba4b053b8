package ingestion_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func TestAnArrivalBecomesACommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	uri := b.upload(csv(
		"a,2001-01-05 08:00:00,20,JFK,LAX",
		"b,2001-01-05 09:00:00,-3,JFK,JFK",
		"c,2001-01-05 10:00:00,late,LAX,SFO",
		"d,2001-01-05 11:00:00,3000,LAX,SFO",
		"a,2001-01-05 12:00:00,1,LAX,SFO",
		"e,2001-01-05 13:00:00,1.0,LAX,SFO",
		"f,2001-01-05 14:00:00,0,LAX,SFO",
		"g,2001-01-05 15:00:00,7,LAX,SFO",
		"h,2001-01-05 16:00:00,8,LAX,SFO",
		"i,2001-01-05 17:00:00,9,LAX,SFO"))
	status, body := b.do("POST", "/v1/arrivals", structured, arrival("1", "flights", uri))
	require.Equal(t, http.StatusAccepted, status, body)

	c := parse[events.DataCommitted](t, b.AwaitType(events.TypeDataCommitted, 1))
	require.EqualValues(t, 1, c.Number)
	require.EqualValues(t, 6, c.Rows)
	require.EqualValues(t, 4, c.Quarantined)
	require.Equal(t, "2001-01-05T08:00:00Z", c.MinTime.Format("2006-01-02T15:04:05Z07:00"))
	require.Equal(t, "2001-01-05T17:00:00Z", c.MaxTime.Format("2006-01-02T15:04:05Z07:00"))
	path, err := b.Objects.File(t.Context(), c.Added[0].Object.Digest)
	require.NoError(t, err)
	table, err := parquet.Read(path)
	require.NoError(t, err)
	require.Equal(t, []string{"flight_id", "date", "delay", "origin", "destination"}, table.Names())
	require.Equal(t, []string{"a", "e", "f", "g", "h", "i"}, table.Column("flight_id").Strings)
	require.Equal(t, []int64{20, 1, 0, 7, 8, 9}, table.Column("delay").Ints)
	require.Equal(t, parquet.Time, table.Column("date").Kind)

	checked := parse[events.DataChecked](t, b.AwaitType(events.TypeDataChecked, 1))
	refused := b.lines(checked.Quarantine)
	require.Len(t, refused, 4)
	require.Equal(t, []any{"sql:no_loops"}, refused[0]["__reasons"])
	require.Equal(t, []any{"type:delay"}, refused[1]["__reasons"])
	require.Equal(t, "late", refused[1]["delay"])
	require.Equal(t, []any{"range:delay"}, refused[2]["__reasons"])
	require.Equal(t, []any{"key:duplicate"}, refused[3]["__reasons"])
	require.ElementsMatch(t, []events.RuleFailure{{Rule: "key:duplicate", Rows: 1}, {Rule: "range:delay", Rows: 1}, {Rule: "sql:no_loops", Rows: 1},
		{Rule: "type:delay", Rows: 1}}, checked.Failures)
	manifest, err := b.Objects.Get(t.Context(), c.Manifest.Digest, 1<<20)
	require.NoError(t, err)
	require.Contains(t, string(manifest), c.Added[0].Object.Digest)

	// The same event again, by HTTP and by NATS: the first answer, no second arrival.
	status, body = b.do("POST", "/v1/arrivals", structured, arrival("1", "flights", uri))
	require.Equal(t, http.StatusOK, status, body)
	require.NoError(t, b.NATS.Publish("freshet-in.default.flights", []byte(arrival("1", "flights", uri))))
	// The same file by another event: a duplicate.
	status, _ = b.do("POST", "/v1/arrivals", structured, arrival("2", "flights", uri))
	require.Equal(t, http.StatusAccepted, status)
	r := parse[events.DataRejected](t, b.AwaitType(events.TypeDataRejected, 1))
	require.Equal(t, "duplicate", r.Reason)
	b.Settle(t.Context())
	require.Empty(t, b.quarantined())

	status, body = b.do("GET", "/v1/datasets/flights/commits", "", "")
	require.Equal(t, http.StatusOK, status)
	var list struct {
		Items []struct {
			Commit string
			Rows   int64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	require.Len(t, list.Items, 1)
	require.Equal(t, c.Commit, list.Items[0].Commit)
}

func TestEveryWayInAndEveryFormat(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	require.NoError(t, os.MkdirAll(filepath.Join(b.inbox, "2001"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(b.inbox, "2001", "day.jsonl"),
		[]byte(`{"flight_id":"j1","date":"2001-01-05T08:00:00","delay":4,"origin":"JFK","destination":"LAX"}`+"\n"), 0o600))
	m := nats.NewMsg("freshet-in.default.flights")
	m.Data = []byte(arrival("n", "flights", "file:2001/day.jsonl"))
	m.Header.Set("Content-Type", structured)
	m.Header.Set("Nats-Rollup-Custom", "x")
	m.Header.Set("Nats-Trace-Dest", "trace")
	m.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	require.NoError(t, b.NATS.PublishMsg(m))
	c := parse[events.DataCommitted](t, b.AwaitType(events.TypeDataCommitted, 1))
	require.EqualValues(t, 1, c.Rows)

	table, err := parquet.NewTable(
		parquet.Column{Name: "flight_id", Kind: parquet.String, Strings: []string{"p1", "p2"}},
		parquet.Column{Name: "date", Kind: parquet.Time, Times: []int64{978681600000000, 978681660000000}},
		parquet.Column{Name: "delay", Kind: parquet.Int, Ints: []int64{1, 2}},
		parquet.Column{Name: "origin", Kind: parquet.String, Strings: []string{"A", "B"}},
		parquet.Column{Name: "destination", Kind: parquet.String, Strings: []string{"B", "C"}})
	require.NoError(t, err)
	raw, err := parquet.Encode(table)
	require.NoError(t, err)
	uri := b.upload(string(raw))
	data, err := json.Marshal(map[string]any{"dataset": "flights", "files": []any{map[string]any{"uri": uri, "format": "parquet"}}})
	require.NoError(t, err)
	require.NoError(t, b.Kafka.Produce(t.Context(), "freshet.in", kafka.Record{Key: []byte("default/flights"), Value: data, Headers: []kafka.Header{
		{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte("k")}, {Key: "ce_source", Value: []byte("/producer")},
		{Key: "ce_type", Value: []byte("com.example.arrived")}, {Key: "content-type", Value: []byte("application/json")}}}))
	second := parse[events.DataCommitted](t, b.AwaitType(events.TypeDataCommitted, 2))
	require.EqualValues(t, 3, second.Rows)
	require.Equal(t, c.Commit, second.Parent)
	b.Settle(t.Context())
	require.Empty(t, b.quarantined())
	for _, e := range b.Events() {
		require.NotContains(t, e.String(), "0af7651916cd43dd8448eb211c80319c", "what outsiders say of traces stays outside")
	}
}

func TestConcurrentArrivalsMakeOneChain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	const n = 12
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			uri := b.upload(csv(fmt.Sprintf("f%d,2001-01-05 08:00:00,%d,JFK,LAX", i, i)))
			b.do("POST", "/v1/arrivals", structured, arrival(fmt.Sprint("c", i), "flights", uri))
		})
	}
	all.Wait()
	parent := ""
	for i := range n {
		c := parse[events.DataCommitted](t, b.AwaitType(events.TypeDataCommitted, i+1))
		require.Equal(t, parent, c.Parent)
		require.EqualValues(t, i+1, c.Number)
		require.EqualValues(t, i+1, c.Rows)
		parent = c.Commit
	}
}

func TestWhatIsRejectedSaysWhy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	for i, c := range []struct{ name, dataset, content, reason string }{
		{"not a table", "flights", "PAR1 but not really", "unreadable"},
		{"a column is missing", "flights", "flight_id,date\na,2001-01-05\n", "schema"},
		{"no rows", "flights", csv(), "empty"},
		{"most rows are bad", "flights", csv("a,2001-01-05,x,A,B", "b,2001-01-05,y,A,B", "c,2001-01-05,1,A,B"), "too_many_failures"},
		{"nobody declares it", "trains", csv("a,2001-01-05,1,A,B"), "unknown_dataset"},
	} {
		status, body := b.do("POST", "/v1/arrivals", structured, arrival(c.name[:4]+fmt.Sprint(i), c.dataset, b.upload(c.content)))
		require.Equal(t, http.StatusAccepted, status, body)
		r := parse[events.DataRejected](t, b.AwaitType(events.TypeDataRejected, i+1))
		require.Equal(t, c.reason, r.Reason, c.name)
	}
	b.Settle(t.Context())
	require.EqualValues(t, 0, b.Log.Status(t.Context()).Parked)
}

// The stream for outside producers comes back as an older copy, here an empty one:
// what is published then is taken, and what comes again is found to be taken.
func TestAnOlderOutsideStreamIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	js, err := jetstream.New(b.NATS)
	require.NoError(t, err)
	send := func(id string) {
		t.Helper()
		_, err := js.Publish(t.Context(), "freshet-in.default.flights", []byte(arrival(id, "flights", b.upload(csv(id+",2001-01-05,1,A,B")))))
		require.NoError(t, err)
	}
	for _, id := range []string{"1", "2", "3"} {
		send(id)
	}
	b.AwaitType(events.TypeDataCommitted, 3)
	s, err := js.Stream(t.Context(), "FRESHET_IN")
	require.NoError(t, err)
	config := s.CachedInfo().Config
	require.NoError(t, js.DeleteStream(t.Context(), "FRESHET_IN"))
	_, err = js.CreateStream(t.Context(), config)
	require.NoError(t, err)
	send("3")
	send("4")
	b.AwaitType(events.TypeDataCommitted, 4)
	for _, id := range []string{"5", "6"} {
		send(id)
	}
	b.AwaitType(events.TypeDataCommitted, 6)
	b.Settle(t.Context())
	n := 0
	for _, e := range b.Events() {
		if e.Type() == events.TypeDataArrived {
			n++
		}
	}
	require.Equal(t, 6, n)
}

// The consumer of the outside stream gives nothing more and says nothing of it: what is
// published is taken all the same.
func TestASilentConsumerOfTheOutsideStreamIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.declare()
	send := func(id string) {
		t.Helper()
		require.NoError(t, b.NATS.Publish("freshet-in.default.flights", []byte(arrival(id, "flights", b.upload(csv(id+",2001-01-05,1,A,B"))))))
	}
	send("1")
	b.AwaitType(events.TypeDataCommitted, 1)
	testkit.SilenceConsumers(t, b.NATS, "FRESHET_IN")
	send("2")
	b.AwaitType(events.TypeDataCommitted, 2)
}

package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// Messages that are no events of the service under whose subject they are, of every sort:
// whoever consumes such events parks them, nobody stops, also after a restart, and whoever
// folds the log again gets the same.
func TestPromise14AForeignMessageStopsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	client := emptyArchive(t)
	nc := w.connect()
	open := func(f *Fold) (*Log, func()) {
		l, err := w.openArchived(client, f)
		require.NoError(t, err)
		return l, run(t, l)
	}
	event := func(typ, source string) []byte {
		e, err := envelope.Place(draft(typ, "x", payload{N: 9}), "other", uuid.NewString(), Cause{}, w.clock.Now(), "")
		require.NoError(t, err)
		e.SetSource(source)
		n, err := envelope.NewEntry(plainCodec{}, e)
		require.NoError(t, err)
		n.Number(1)
		return n.Bytes
	}
	const subject = "freshet.default.other.v1."
	added := []*nats.Msg{ // adder consumes it
		{Subject: subject + "added"},
		{Subject: subject + "added", Data: []byte(`{"junk":true}`)},
		{Subject: subject + "added", Data: []byte(`{"namespace":"a","id":"b","type":"` + full("other.added") + `","source":"/freshet/other"}`)},
		{Subject: subject + "added", Data: []byte(`[`)},
		{Subject: subject + "added", Data: []byte{0, 255, 1}},
		{Subject: subject + "added", Data: bytes.Repeat([]byte("x"), 900_000)},
		{Subject: subject + "added", Data: event("other.removed", "/freshet/other")},
		{Subject: subject + "added", Data: event("other.added", "/freshet/adder")},
		{Subject: subject + "added", Data: []byte(`{}`), Header: nats.Header{"Freshet-Id": {"x"}, "Freshet-Sequence": {"7"}}},
		{Subject: subject + "added", Data: []byte(`{}`), Header: nats.Header{"Freshet-Id": {uuid.NewString()}}},
		{Subject: subject + "added", Data: []byte(`{}`), Header: nats.Header{"Freshet-Sequence": {"1"}}},
	}
	others := []*nats.Msg{ // nobody consumes it
		{Subject: subject + "unheard", Data: []byte(`{"junk":true}`)},
		{Subject: subject + "event_parked", Data: []byte(`{"junk":true}`)},
		{Subject: "freshet.default.other", Data: event("other.added", "/freshet/other")},
		{Subject: "freshet.x", Data: []byte("x")},
	}
	own := []*nats.Msg{ // adder is said to have published it
		{Subject: "freshet.default.adder.v1.added", Data: []byte(`{"junk":true}`)},
		{Subject: "freshet.default.adder.v1.doubled", Data: []byte(`{"junk":true}`)},
		{Subject: "freshet.default.adder.v1.event_retried", Data: []byte(`{"junk":true}`)},
		{Subject: "freshet.default.adder.v1.service_activated", Data: []byte(`x`)},
	}
	parked := len(added) + 2 // of adder's own the fact, twice
	publish := func() {
		for _, all := range [][]*nats.Msg{added, own, others, own} {
			for _, m := range all {
				require.NoError(t, nc.PublishMsg(m))
			}
		}
		require.NoError(t, nc.Flush())
	}

	// The log begins with such messages, before any service has run.
	publish()
	adder, stop := open(counts("adder"))
	other, stopOther := open(NewFold("other", 1, ""))
	n := 0
	add := func() {
		for _, l := range []struct {
			log *Log
			typ string
		}{{adder, "adder.added"}, {other, "other.added"}} {
			n++
			_, err := l.log.RecordAndWait(ctx, fact(l.typ, "x", 1, fmt.Sprint(n)))
			require.NoError(t, err)
		}
		settle(t, adder, other)
		require.NoError(t, adder.Status(ctx).Err)
		require.NoError(t, other.Status(ctx).Err)
		got, _ := sum(t, adder, "x")
		require.Equal(t, n, got)
	}
	add()
	require.EqualValues(t, parked, adder.Status(ctx).Parked)
	publish()
	add()
	require.EqualValues(t, 2*parked, adder.Status(ctx).Parked)
	require.Zero(t, other.Status(ctx).Parked)

	// Also where it is the log's last message that the service starts from.
	publish()
	settle(t, adder, other)
	stop()
	stopOther()
	adder, stop = open(counts("adder"))
	other, _ = open(NewFold("other", 1, ""))
	add()
	require.EqualValues(t, 3*parked, adder.Status(ctx).Parked)

	// They can be resolved, and trying again finds the same.
	all, err := adder.ParkedEvents(ctx)
	require.NoError(t, err)
	require.Len(t, all, 3*parked)
	ids := map[string]bool{}
	for i, p := range all {
		require.NoError(t, uuid.Validate(p.ID))
		ids[p.ID] = true
		how := Discard
		if i%2 == 0 {
			how = Retry
		}
		_, err := adder.ResolveParked(ctx, p.ID, how, "test")
		if how == Discard {
			require.NoError(t, err)
		}
	}
	require.Len(t, ids, 3*parked, "each has an id of its own")
	add()
	require.EqualValues(t, (3*parked+1)/2, adder.Status(ctx).Parked)

	end := w.end()
	archived(t, adder, client, 1, end, nil)
	for _, from := range []Origin{FromLog, FromArchive} {
		report, err := adder.Verify(ctx, from, nil)
		require.NoError(t, err, from)
		require.True(t, report.Equal, "%s %+v", from, report.Difference)
		before := w.dump("adder", "sums")
		_, err = adder.Rebuild(ctx, from, nil)
		require.NoError(t, err, from)
		require.Equal(t, before, w.dump("adder", "sums"), from)
		add()
	}

	// A database that was lost is made again from the log.
	stop()
	w.url = databaseURL(t)
	adder, _ = open(counts("adder"))
	settle(t, adder)
	require.NoError(t, adder.Status(ctx).Err)
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

const (
	aggregates = 5000
	stream     = "FRESHET_1"
	batch      = 1000
)

// keyOf spreads events over the aggregates as a hash does: not in turn.
func keyOf(i int) string { return "k" + strconv.Itoa(int(uint32(i)*2654435761>>7)%aggregates) } //nolint:gosec // a hash

// makeLog publishes n facts of the console, and returns the size of one.
func makeLog(ctx context.Context, url string, n int) (size int, err error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	if err := eventlog.EnsureStream(ctx, nc, stream); err != nil {
		return 0, err
	}
	note := events.NoteAdded{On: "bench", Note: events.Object{Digest: "sha256:" + strings.Repeat("0", 64), URI: strings.Repeat("flights ", 11), Size: 1}}
	at := time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC)
	var last uint64
	for from := 0; from < n; from += batch {
		id, count := nuid.Next(), min(batch, n-from)
		for k := range count {
			i := from + k
			e, err := events.NewNoteAdded("default", keyOf(i), note)
			if err != nil {
				return 0, err
			}
			eventID := fmt.Sprintf("00000000-0000-5000-8000-%012x", i+1)
			e.SetID(eventID)
			e.SetSource("/freshet/console")
			e.SetTime(at.Add(time.Duration(i) * time.Millisecond))
			e.SetExtension("correlationid", eventID)
			e.SetExtension("sequence", fmt.Sprintf("%020d", i+1))
			e.SetExtension("hops", 0)
			e.SetExtension("actor", "bench")
			b, err := events.Codec{}.Encode(e)
			if err != nil {
				return 0, err
			}
			size = len(b)
			m := &nats.Msg{Subject: "freshet.default.console.v1.note_added", Data: b, Header: nats.Header{
				"Freshet-Id": {eventID}, "Freshet-Sequence": {strconv.Itoa(i + 1)},
				"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {strconv.Itoa(k + 1)},
			}}
			if k == 0 {
				m.Header["Nats-Expected-Stream"] = []string{stream}
				m.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(last, 10)}
				m.Header["Nats-Expected-Last-Subject-Sequence-Subject"] = []string{"freshet.*.console.>"}
			}
			if k < count-1 {
				if err := nc.PublishMsg(m); err != nil {
					return 0, err
				}
				continue
			}
			m.Header["Nats-Batch-Commit"] = []string{"1"}
			reply, err := nc.RequestMsg(m, 30*time.Second)
			if err != nil {
				return 0, err
			}
			var ack struct {
				Seq   uint64          `json:"seq"`
				Error json.RawMessage `json:"error"`
			}
			if err := json.Unmarshal(reply.Data, &ack); err != nil || ack.Error != nil {
				return 0, fmt.Errorf("publish: %s", reply.Data)
			}
			last = ack.Seq
		}
	}
	return size, nil
}

// expected is the checksum of the state after the first n events.
func expected(n int) string {
	count, last := make([]int, aggregates), make([]int, aggregates)
	for i := range n {
		k, _ := strconv.Atoi(keyOf(i)[1:])
		count[k]++
		last[k] = i + 1
	}
	lines := make([]string, 0, aggregates)
	for k := range aggregates {
		if count[k] > 0 {
			lines = append(lines, fmt.Sprintf("k%d %d %d", k, count[k], last[k]))
		}
	}
	return checksum(lines)
}

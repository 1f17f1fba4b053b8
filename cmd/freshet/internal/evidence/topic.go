package evidence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/transparency"
)

const fetchWait = 500 * time.Millisecond

// VerifyTopic verifies the archive in Kafka, up to its end when asked. A record that
// the topic has twice, the same, is counted and nothing more: a broker may store again
// what it had stored, and readers drop what they know.
func VerifyTopic(ctx context.Context, client archive.Kafka, o Options) (Report, error) {
	v := newVerifier(o)
	first, end, err := client.Bounds(ctx, archive.Topic)
	if err != nil {
		return v.report, fmt.Errorf("the archive: %w", err)
	}
	if len(end) != 1 {
		v.find(archive.Topic, "it has %d partitions, and only one keeps an order", len(end))
	}
	if end[0] == 0 {
		return v.report, errors.New("the archive is empty")
	}
	if first[0] > 0 {
		v.find(archive.Topic, "its first %d records were deleted", first[0])
	}
	epoch := 0
	for offset := first[0]; offset < end[0] && !v.full(); {
		records, next, err := client.Fetch(ctx, archive.Topic, 0, offset, fetchWait)
		if err != nil {
			return v.report, fmt.Errorf("the archive: %w", err)
		}
		if next <= offset {
			return v.report, fmt.Errorf("the archive: nothing was answered from offset %d on, of %d", offset, end[0])
		}
		for _, r := range records {
			if r.Offset < end[0] && !v.full() {
				v.record(r, &epoch)
			}
		}
		offset = next
		if o.Progress != nil {
			o.Progress(v.report.Events)
		}
	}
	if v.full() {
		v.report.More = true
		return v.report, nil
	}
	return v.finish("", nil)
}

func (v *verifier) record(r kafka.Record, epoch *int) {
	where := fmt.Sprintf("%s offset %d", archive.Topic, r.Offset)
	headers := map[string]string{}
	for _, h := range r.Headers {
		if _, twice := headers[h.Key]; twice {
			v.find(where, "the header %s is duplicate", h.Key)
		}
		headers[h.Key] = string(h.Value)
	}
	sequence, err := strconv.ParseInt(headers[archive.HeaderSequence], 10, 64)
	if err != nil || sequence < 1 {
		v.find(where, "the record is not a copy of an event: its header %s is %q", archive.HeaderSequence, headers[archive.HeaderSequence])
		return
	}
	if at := sequence - 1; sequence <= v.last && at < int64(len(v.pending)) && v.last == int64(len(v.pending)) {
		if v.pending[at] == transparency.HashOf(r.Value) && headers[archive.HeaderDigest] == archive.Digest(r.Value) {
			v.report.Repeated++
			return
		}
	}
	// Epochs are numbered; names of other kinds are not compared.
	if n, err := strconv.Atoi(headers[archive.HeaderEpoch]); err == nil {
		if n < *epoch {
			v.find(where, "sequence %d is of epoch %d and comes after epoch %d", sequence, n, *epoch)
		}
		*epoch = max(*epoch, n)
	}
	v.add(where, sequence, headers[archive.HeaderDigest], r.Value)
}

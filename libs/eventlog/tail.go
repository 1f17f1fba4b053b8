package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
)

// The tail is what a service remembers of the log's order beyond the archive: which
// event it applied at which sequence. Where the log's server comes back with an
// older copy, these events are put back at their old places, from their owners'
// outboxes. It is written with the position, and forgotten once the archive has it.

// tailSQL adds a batch to the tail. A batch that is applied once more, after the
// fold went back, may have other bounds; the longer one says at least as much.
const tailSQL = `INSERT INTO %[2]s.applied (last, sources, sequences, digests) SELECT $4, $11::text[], $12::bigint[], $13::bytea[]
	WHERE cardinality($11::text[]) > 0
	ON CONFLICT (last) DO UPDATE SET sources = excluded.sources, sequences = excluded.sequences, digests = excluded.digests
	WHERE cardinality(excluded.sources) >= cardinality(applied.sources)`

// tailOf is what a transaction adds: consecutive events, the last one at the position.
type tailOf struct {
	sources   []string
	sequences []int64
	digests   [][]byte
}

func (t *tailOf) add(v *logEvent) {
	t.sources = append(t.sources, v.source)
	t.sequences = append(t.sequences, int64(v.sequence))
	t.digests = append(t.digests, digestOf(v.data))
}

// join returns both, one after the other.
func (t tailOf) join(more tailOf) tailOf {
	if len(t.sources) == 0 {
		return more
	}
	return tailOf{append(t.sources, more.sources...), append(t.sequences, more.sequences...), append(t.digests, more.digests...)}
}

func (l *Log) forgetTail(ctx context.Context, archived uint64) error {
	_, err := l.pool.Exec(ctx, "DELETE FROM "+quote(l.schema+"_io")+".applied WHERE last <= $1", int64(archived))
	return err
}

// reportTail adds a page of what was applied after a sequence.
func (l *Log) reportTail(ctx context.Context, r *epoch.Report, after uint64) error {
	rows, err := l.pool.Query(ctx, "SELECT last, sources, sequences, digests FROM "+quote(l.schema+"_io")+".applied WHERE last > $1 AND last <= $2 ORDER BY last", int64(after), int64(r.Sequence))
	if err != nil {
		return fmt.Errorf("read what was applied: %w", err)
	}
	var last int64
	var sources []string
	var sequences []int64
	var digests [][]byte
	next := after + 1
	_, err = pgx.ForEachRow(rows, []any{&last, &sources, &sequences, &digests}, func() error {
		first := uint64(last) - uint64(len(sources)) + 1
		for i, source := range sources {
			n := first + uint64(i)
			if n < next || len(r.Tail) >= reportPage {
				continue
			}
			r.Tail = append(r.Tail, epoch.Applied{Sequence: n, Source: source, SourceSequence: uint64(sequences[i]), Digest: bytes.Clone(digests[i])})
			next = n + 1
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was applied: %w", err)
	}
	r.TailDone = len(r.Tail) < reportPage
	return nil
}

// reportEvents adds events of the outbox, as many as fit, and says which it lacks.
func (l *Log) reportEvents(ctx context.Context, r *epoch.Report, want []uint64, limit int) error {
	asked := make([]int64, len(want))
	for i, n := range want {
		asked[i] = int64(n)
	}
	rows, err := l.pool.Query(ctx, "SELECT a.n, o.event FROM unnest($1::bigint[]) WITH ORDINALITY AS a(n, i) LEFT JOIN "+quote(l.schema+"_io")+".outbox o ON o.sequence = a.n ORDER BY a.i", asked)
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	var n int64
	var data []byte
	size := 0
	_, err = pgx.ForEachRow(rows, []any{&n, &data}, func() error {
		switch {
		case data == nil:
			r.Lacks = append(r.Lacks, uint64(n))
		case size == 0 || size+len(data) <= limit:
			size += len(data)
			r.Events = append(r.Events, epoch.Event{Sequence: uint64(n), Data: bytes.Clone(data)})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	return nil
}

// ask sends a report and returns the answer.
func ask(ctx context.Context, k *link, r epoch.Report) (epoch.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	b, err := json.Marshal(r)
	if err != nil {
		return epoch.Answer{}, err
	}
	reply, err := k.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: epoch.Subject, Data: b})
	if err != nil {
		return epoch.Answer{}, fmt.Errorf("audit: %w", err)
	}
	var answer epoch.Answer
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return epoch.Answer{}, fmt.Errorf("audit's answer: %w", err)
	}
	if answer.Server != k.server {
		return epoch.Answer{}, fmt.Errorf("audit answered for another server: %s, not %s", answer.Server, k.server)
	}
	return answer, nil
}

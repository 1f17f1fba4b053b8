package lead

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
)

// The tail is what a service remembers of the log's order beyond the archive: which
// event it applied at which sequence. Where the log's server comes back with an
// older copy, these events are put back at their old places, from their owners'
// outboxes. It is written with the position, and forgotten once the archive has it.

// TailSQL adds a batch to the tail. A batch that is applied once more, after the
// fold was rolled back, may have other bounds; the longer one says at least as much.
const TailSQL = `INSERT INTO %[2]s.applied (last, sources, sequences, digests) SELECT $4, $11::text[], $12::bigint[], $13::bytea[]
	WHERE cardinality($11::text[]) > 0
	ON CONFLICT (last) DO UPDATE SET sources = excluded.sources, sequences = excluded.sequences, digests = excluded.digests
	WHERE cardinality(excluded.sources) >= cardinality(applied.sources)`

// A Tail is what a transaction adds: consecutive events, the last one at the position.
type Tail struct {
	Sources   []string
	Sequences []int64
	Digests   [][]byte
}

// Add adds the next event.
func (t *Tail) Add(v *engine.Event) {
	t.Sources = append(t.Sources, v.Source)
	t.Sequences = append(t.Sequences, int64(v.Sequence))
	t.Digests = append(t.Digests, envelope.Digest(v.Data))
}

// Join returns both, one after the other.
func (t Tail) Join(more Tail) Tail {
	if len(t.Sources) == 0 {
		return more
	}
	return Tail{append(t.Sources, more.Sources...), append(t.Sequences, more.Sequences...), append(t.Digests, more.Digests...)}
}

// forgetTail forgets what the archive has.
func (l *LogSessions) forgetTail(ctx context.Context, archived uint64) error {
	_, err := l.pool.Exec(ctx, "DELETE FROM "+schema.IO(l.engine.Schema())+".applied WHERE last <= $1", int64(archived))
	return err
}

// reportTail adds a page of what was applied after a sequence.
func (l *LogSessions) reportTail(ctx context.Context, r *attest.Report, after uint64) error {
	rows, err := l.pool.Query(ctx, "SELECT last, sources, sequences, digests FROM "+schema.IO(l.engine.Schema())+
		".applied WHERE last > $1 AND last <= $2 ORDER BY last", int64(after), int64(r.Sequence))
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
			r.Tail = append(r.Tail, attest.Applied{Sequence: n, Source: source, SourceSequence: uint64(sequences[i]), Digest: bytes.Clone(digests[i])})
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
func (l *LogSessions) reportEvents(ctx context.Context, r *attest.Report, want []uint64, limit int) error {
	asked := make([]int64, len(want))
	for i, n := range want {
		asked[i] = int64(n)
	}
	rows, err := l.pool.Query(ctx, "SELECT a.n, o.event FROM unnest($1::bigint[]) WITH ORDINALITY AS a(n, i) LEFT JOIN "+schema.IO(l.engine.Schema())+
		".outbox o ON o.sequence = a.n ORDER BY a.i", asked)
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
			r.Events = append(r.Events, attest.Event{Sequence: uint64(n), Data: bytes.Clone(data)})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	return nil
}

// ask sends a report and returns the answer.
func ask(ctx context.Context, k *LogSession, r attest.Report) (attest.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	b, err := json.Marshal(r)
	if err != nil {
		return attest.Answer{}, err
	}
	reply, err := k.Conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: attest.Subject, Data: b})
	if err != nil {
		return attest.Answer{}, fmt.Errorf("audit: %w", err)
	}
	var answer attest.Answer
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return attest.Answer{}, fmt.Errorf("audit's answer: %w", err)
	}
	if answer.Server != k.Server {
		return attest.Answer{}, fmt.Errorf("audit answered for another server: %s, not %s", answer.Server, k.Server)
	}
	return answer, nil
}

package outbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// copyHeader begins binary COPY data: signature, no flags, no extension.
const copyHeader = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// copyFacts numbers facts and records them in one transaction and one round trip:
// the outbox by COPY, which costs PostgreSQL and this process about half of what
// an INSERT does, then their keys, what also says, and the counter last. The
// counter's lock is held until it returns.
func (o *Outbox) copyFacts(ctx context.Context, conn *pgx.Conn, facts []*envelope.Entry, also string) error {
	b := o.counter.buffer[:0]
	b = append(b, copyHeader...)
	field := func(v []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	for i, e := range facts {
		e.Number(o.counter.value + uint64(i) + 1)
		id := uuid.MustParse(e.ID)
		b = binary.BigEndian.AppendUint16(b, 5)
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, e.Sequence)
		field(id[:])
		field(e.Digest)
		field([]byte(e.Subject))
		field(e.Bytes)
	}
	b = binary.BigEndian.AppendUint16(b, 1<<16-1) // the end
	if o.counter.buffer = b; cap(b) > maxCopyBuffer {
		o.counter.buffer = nil
	}
	io, from := schema.IO(o.schema), o.counter.value
	// A simple query's statements are one transaction. A counter that is not where
	// it was thought to be becomes null, which it must not.
	sql := fmt.Sprintf(`COPY %[1]s.outbox (sequence, id, digest, subject, event) FROM STDIN BINARY;
		INSERT INTO %[1]s.inbox (id, digest, sequence) SELECT id, digest, sequence FROM %[1]s.outbox WHERE sequence BETWEEN %[2]d + 1 AND %[3]d;
		%[4]s
		UPDATE %[1]s.counter SET sequence = CASE WHEN sequence = %[2]d THEN %[3]d::bigint END`, io, from, from+uint64(len(facts)), also)
	_, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(b), sql)
	if err != nil {
		o.counter.buffer = nil // a connection that broke may be sending it still
	}
	return err
}

// maxCopyBuffer is what is kept of a buffer for the next group.
const maxCopyBuffer = 4 << 20

// queueDecisions numbers decisions and queues the statements that record them in
// the transaction that applies their causes, the counter's last. The counter's
// lock is held until it is committed.
func (o *Outbox) queueDecisions(b *pgx.Batch, decisions []*envelope.Entry) {
	n := len(decisions)
	// These types are written without reflection and without a detour by text.
	var (
		ids       = make(pgtype.FlatArray[pgtype.UUID], n)
		sequences = make(pgtype.FlatArray[int64], n)
		causes    = make(pgtype.FlatArray[string], n)
		subjects  = make(pgtype.FlatArray[string], n)
		encoded   = make(pgtype.FlatArray[[]byte], n)
	)
	for i, e := range decisions {
		e.Number(o.counter.value + uint64(i) + 1)
		ids[i] = pgtype.UUID{Bytes: uuid.MustParse(e.ID), Valid: true}
		sequences[i], causes[i], subjects[i], encoded[i] = int64(e.Sequence), e.Cause, e.Subject, e.Bytes
	}
	io := schema.IO(o.schema)
	b.Queue("INSERT INTO "+io+".outbox (sequence, id, cause, subject, event) SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bytea[])",
		sequences, ids, causes, subjects, encoded)
	b.Queue("UPDATE "+io+".counter SET sequence = CASE WHEN sequence = $1 THEN $2::bigint END", int64(o.counter.value), int64(o.counter.value)+int64(n))
}

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// A message is one event as the log has it.
type message struct {
	stream   uint64
	service  string
	sequence uint64 // of its source
	data     []byte
}

// envelope is what the checker reads of an event.
type envelope struct {
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Source      string          `json:"source"`
	Sequence    string          `json:"sequence"`
	CausationID string          `json:"causationid"`
	Data        json.RawMessage `json:"data"`
}

func schemaOf(service string) string { return strings.ReplaceAll(service, "-", "_") }

// A count is what monitoring made of the inference records.
type count struct {
	next             int64 // offset of the topic
	counted, refused int
}

func readCount(ctx context.Context, db querier) (n count, err error) {
	err = db.QueryRow(ctx, `SELECT coalesce((SELECT next FROM monitoring_data.consumed WHERE topic = $1 AND partition = 0), 0),
		(SELECT count(*) FROM monitoring_data.records), (SELECT count(*) FROM monitoring_data.refused_records)`, inferenceTopic).Scan(&n.next, &n.counted, &n.refused)
	return n, err
}

// readLog reads the log from a place on to its end. What lies before the first
// event of its epoch is the archive's to tell.
func readLog(ctx context.Context, s *Suite, from uint64) ([]message, error) {
	name, err := attest.Current(ctx, s.js)
	if err != nil {
		return nil, err
	}
	stream, err := s.js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	var all []message
	if from < state.FirstSeq {
		if all, err = readArchived(ctx, s, from, state.FirstSeq); err != nil {
			return nil, err
		}
		from = state.FirstSeq
	}
	if from > state.LastSeq {
		return all, nil
	}
	c, err := stream.OrderedConsumer(ctx, attest.ReadFrom(from))
	if err != nil {
		return nil, err
	}
	reading, err := c.Messages()
	if err != nil {
		return nil, err
	}
	defer reading.Stop()
	for {
		m, err := reading.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		one, err := newMessage(meta.Sequence.Stream, m.Data())
		if err != nil {
			return nil, err
		}
		all = append(all, one)
		if meta.Sequence.Stream >= state.LastSeq {
			return all, nil
		}
	}
}

func newMessage(stream uint64, data []byte) (message, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return message{}, fmt.Errorf("message %d: %w", stream, err)
	}
	sequence, err := strconv.ParseUint(e.Sequence, 10, 64)
	if err != nil {
		return message{}, fmt.Errorf("message %d: its sequence: %w", stream, err)
	}
	return message{stream, strings.TrimPrefix(e.Source, "/freshet/"), sequence, data}, nil
}

func readArchived(ctx context.Context, s *Suite, from, to uint64) (all []message, err error) {
	var offset int64
	records, err := readTopic(ctx, s.kafka, archive.Topic, &offset)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if sequence := archived(r); sequence == from && sequence < to {
			m, err := newMessage(sequence, r.Value)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
			from++
		}
	}
	return all, nil
}

// archived is which message of the log a record of the archive is.
func archived(r kafka.Record) uint64 {
	n, err := strconv.ParseUint(string(header(r, archive.HeaderSequence)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func header(r kafka.Record, name string) []byte {
	for _, h := range r.Headers {
		if h.Key == name {
			return h.Value
		}
	}
	return nil
}

type outboxRow struct {
	sequence uint64
	event    []byte
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func readOutbox(ctx context.Context, db querier, service string, above uint64) (all []outboxRow, counter uint64, err error) {
	io := schemaOf(service) + "_io"
	if err := db.QueryRow(ctx, "SELECT sequence FROM "+io+".counter").Scan(&counter); err != nil {
		return nil, 0, err
	}
	rows, err := db.Query(ctx, "SELECT sequence, event FROM "+io+".outbox WHERE sequence > $1 ORDER BY sequence", int64(above)) //nolint:gosec // a sequence
	if err != nil {
		return nil, 0, err
	}
	all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r outboxRow, err error) {
		err = row.Scan(&r.sequence, &r.event)
		return r, err
	})
	return all, counter, err
}

// readTopic reads a topic from an offset on to its end, and moves the offset. A
// connection from before a broker's death is noticed when it is used: then it is read
// again.
func readTopic(ctx context.Context, client *kafka.Client, topic string, offset *int64) (all []kafka.Record, err error) {
	from := *offset
	err = retry(ctx, func() error {
		_, end, err := client.Bounds(ctx, topic)
		if err != nil {
			return err
		}
		for all, *offset = nil, from; *offset < end[0]; {
			records, to, err := client.Fetch(ctx, topic, 0, *offset, time.Second)
			if err != nil {
				return err
			}
			if to <= *offset {
				return errors.New("the broker answers with nothing before the topic's end")
			}
			all, *offset = append(all, records...), to
		}
		return nil
	})
	return all, err
}

// stallLimit is how long the harness tries again what needs a server that had a fault.
const stallLimit = 15 * time.Second

func retry(ctx context.Context, fn func() error) error {
	for began := time.Now(); ; {
		err := fn()
		if err == nil || time.Since(began) > stallLimit || ctx.Err() != nil {
			return err
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

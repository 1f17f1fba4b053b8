package outbox

import (
	"context"
	"fmt"

	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
	"github.com/jackc/pgx/v5"
)

// The index is looked into once per event or number, whatever the planner knows of the
// outbox: of a young one it knows nothing, and would read all of it for every batch.
const (
	DecisionsOfSQL = `SELECT o.cause, o.event FROM unnest($1::text[]) AS v(id)
	CROSS JOIN LATERAL (SELECT sequence, cause, event FROM %s.outbox WHERE cause = v.ID OFFSET 0) o ORDER BY o.sequence`
	DecisionsAtSQL = `SELECT o.cause, o.event FROM unnest($1::bigint[]) AS v(sequence)
	CROSS JOIN LATERAL (SELECT cause, event FROM %s.outbox WHERE sequence = v.Sequence OFFSET 0) o ORDER BY v.Sequence`
)

// DecisionsAt are the decisions that have these numbers in the outbox.
func (o *Outbox) DecisionsAt(ctx context.Context, q engine.Reader, sequences []int64) (map[string][]engine.Decision, error) {
	return readDecisions(ctx, q, o.schema, o.engine.Codec, DecisionsAtSQL, sequences)
}

func readDecisions(ctx context.Context, q engine.Reader, in string, codec envelope.Codec, sql string, which any) (map[string][]engine.Decision, error) {
	rows, err := q.Query(ctx, fmt.Sprintf(sql, schema.IO(in)), which)
	if err != nil {
		return nil, fmt.Errorf("read recorded decisions: %w", err)
	}
	found := map[string][]engine.Decision{}
	var cause string
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&cause, &data}, func() error {
		e, err := codec.Decode(data)
		if err != nil {
			return stall.Alarmf("a decision in the outbox cannot be read: %w", err)
		}
		e.SetExtension(envelope.ExtSequence, nil)
		found[cause] = append(found[cause], engine.Decision{Event: e, Raw: data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read recorded decisions: %w", err)
	}
	return found, nil
}

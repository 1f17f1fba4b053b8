package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
	"github.com/jackc/pgx/v5"
)

const activated = "service_activated"

// ActivatedThrough reads service_activated: up to where the service decided nothing.
func (o *Outbox) ActivatedThrough(e event.Event) int64 {
	var p struct {
		Through int64 `json:"through"`
	}
	if e.Type() != envelope.TypePrefix+o.service+".v1."+activated || json.Unmarshal(e.Data(), &p) != nil {
		return 0
	}
	return p.Through
}

// activate is a service's first start: what the log has already, it applies
// without deciding, and says so.
func (o *Outbox) activate(ctx context.Context, k *lead.LogSession, conn *pgx.Conn) error {
	_, last, err := k.Bounds(ctx)
	if err != nil {
		return err
	}
	decided := fmt.Sprintf("INSERT INTO %s.decided (through) VALUES (%d);", schema.IO(o.schema), last)
	if last == 0 {
		if _, err := conn.Exec(ctx, decided); err != nil {
			return fmt.Errorf("first start: %w", err)
		}
		return nil
	}
	payload := fmt.Appendf(nil, `{"service":%q,"through":%d}`, o.service, last)
	draft := envelope.Draft(o.service, activated, "default", o.service, payload)
	n, err := o.Entry(draft, envelope.FactID(o.service, "default", activated), envelope.Cause{}, "")
	if err != nil {
		return err
	}
	o.counter.mu.Lock()
	defer o.counter.mu.Unlock()
	if err := o.refreshCounter(ctx, conn); err != nil {
		return err
	}
	if err := o.copyFacts(ctx, conn, []*envelope.Entry{n}, decided); err != nil {
		return fmt.Errorf("first start: %w", err)
	}
	o.recorded([]*envelope.Entry{n})
	return nil
}

// Undecided is up to where the service decided nothing, because the log had that
// before it started for the first time.
func (o *Outbox) Undecided(ctx context.Context, q engine.Reader) (uint64, error) {
	var data []byte
	err := q.QueryRow(ctx, "SELECT event FROM "+schema.IO(o.schema)+".outbox WHERE sequence = 1").Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the outbox: %w", err)
	}
	e, err := o.engine.Codec.Decode(data)
	if err != nil {
		return 0, fmt.Errorf("read the outbox: %w", err)
	}
	return uint64(max(0, o.ActivatedThrough(e))), nil
}

// DecidedThrough is up to where in the log the service decided.
func (o *Outbox) DecidedThrough(ctx context.Context, q engine.Reader) (uint64, error) {
	var through int64
	if err := q.QueryRow(ctx, "SELECT coalesce((SELECT through FROM "+schema.IO(o.schema)+".decided), 0)").Scan(&through); err != nil {
		return 0, fmt.Errorf("read how far was decided: %w", err)
	}
	return uint64(through), nil //nolint:gosec // a position of the log
}

// NoteVersion writes down that this version decides from here on. Who decided what
// the database learned from the log alone is not known.
func (o *Outbox) NoteVersion(ctx context.Context, conn *pgx.Conn, end uint64) error {
	io := schema.IO(o.schema)
	_, err := conn.Exec(ctx, `INSERT INTO `+io+`.versions (since, version)
		SELECT CASE WHEN EXISTS (SELECT FROM `+io+`.versions) THEN d.through
			ELSE greatest(d.through, coalesce((SELECT $2::bigint WHERE EXISTS (SELECT FROM `+io+`.outbox WHERE cause IS NOT NULL)), 0)) END, $1
		FROM `+io+`.decided d
		WHERE NOT EXISTS (SELECT FROM (SELECT version FROM `+io+`.versions ORDER BY since DESC LIMIT 1) v WHERE v.version = $1)
		ON CONFLICT (since) DO UPDATE SET version = excluded.version`, int64(o.engine.Version()), int64(end)) //nolint:gosec // a position of the log
	if err != nil {
		return fmt.Errorf("note the fold's version: %w", err)
	}
	return nil
}

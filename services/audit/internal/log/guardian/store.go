package guardian

import (
	"bytes"
	"context"
	"embed"
	"fmt"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/jackc/pgx/v5"
)

// Migrations make the guardian's tables.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// A position is how far a service was when it was last heard of.
type position struct {
	epoch    int
	sequence uint64
	digest   []byte
	stopped  bool
}

func (g *Guardian) registered(ctx context.Context) (map[string]position, error) {
	rows, err := g.o.Pool.Query(ctx, "SELECT service, epoch, sequence, digest, stopped FROM guardian_services")
	if err != nil {
		return nil, fmt.Errorf("the services that apply the log: %w", err)
	}
	out := map[string]position{}
	var service string
	var p position
	var number, sequence int64
	_, err = pgx.ForEachRow(rows, []any{&service, &number, &sequence, &p.digest, &p.stopped}, func() error {
		out[service] = position{epoch: int(number), sequence: uint64(sequence), digest: bytes.Clone(p.digest), stopped: p.stopped}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the services that apply the log: %w", err)
	}
	return out, nil
}

// register remembers a service and its position.
func (g *Guardian) register(ctx context.Context, p attest.Report) error {
	digest := p.Digest
	if digest == nil {
		digest = []byte{}
	}
	_, err := g.o.Pool.Exec(ctx, `INSERT INTO guardian_services (service, epoch, sequence, digest, stopped) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (service) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence, digest = excluded.digest,
			stopped = excluded.stopped, heard = now()`,
		p.Service, p.Epoch, int64(p.Sequence), digest, p.Leaves)
	if err != nil {
		return fmt.Errorf("storing the position of %s: %w", p.Service, err)
	}
	return nil
}

// Forget takes a service off the list of those that are waited for: it will not
// come back, or its database is gone.
func (g *Guardian) Forget(ctx context.Context, service string) (known bool, err error) {
	tag, err := g.o.Pool.Exec(ctx, "DELETE FROM guardian_services WHERE service = $1", service)
	if err != nil {
		return false, fmt.Errorf("removing service %s: %w", service, err)
	}
	g.forgotten.Store(true)
	return tag.RowsAffected() > 0, nil
}

// indexed looks into audit's own index for the events at sequences that nobody
// remembers: their order is there as far as audit had applied it.
func (g *Guardian) indexed(ctx context.Context, from, to uint64) (map[uint64]entry, error) {
	rows, err := g.o.Pool.Query(ctx, // Audit's own decisions are indexed where their causes are; where they are is not known.
		`SELECT sequence, source, source_sequence, id FROM events AS e WHERE sequence BETWEEN $1 AND $2 AND NOT
			(source = $3 AND EXISTS (SELECT FROM events AS c WHERE c.namespace = e.namespace AND c.id = e.causation AND c.sequence = e.sequence))`,
		int64(from), int64(to), sourcePrefix+"audit")
	if err != nil {
		return nil, fmt.Errorf("audit's index: %w", err)
	}
	out := map[uint64]entry{}
	var sequence, number int64
	var source, id string
	_, err = pgx.ForEachRow(rows, []any{&sequence, &source, &number, &id}, func() error {
		out[uint64(sequence)] = entry{origin: origin{source, uint64(number)}, id: id, by: "audit's index"}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("audit's index: %w", err)
	}
	return out, nil
}

// An Opened epoch.
type Opened struct {
	Epoch                      int
	Begins, Archived, Restored uint64
	Reason                     string
}

func (g *Guardian) opened(ctx context.Context, o Opened) error {
	_, err := g.o.Pool.Exec(ctx, `INSERT INTO guardian_epochs (epoch, begins, archived, restored, reason)
		VALUES ($1, $2, $3, $4, $5)`, o.Epoch, int64(o.Begins), int64(o.Archived), int64(o.Restored), o.Reason)
	if err != nil {
		return fmt.Errorf("storing epoch %d: %w", o.Epoch, err)
	}
	return nil
}

// newest is the last epoch that was opened here, 0 where none was: nothing may have
// been recorded in it.
func (g *Guardian) newest(ctx context.Context) (number int, err error) {
	err = g.o.Pool.QueryRow(ctx, "SELECT coalesce(max(epoch), 0) FROM guardian_epochs").Scan(&number)
	if err != nil {
		return 0, fmt.Errorf("the epochs that were opened: %w", err)
	}
	return number, nil
}

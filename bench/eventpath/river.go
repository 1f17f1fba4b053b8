package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type riverPeer struct {
	counted
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
}

type riverArgs struct {
	Index  int    `json:"index"`
	Key    string `json:"key"`
	Filler string `json:"filler"`
}

func (riverArgs) Kind() string { return "event" }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	peer *riverPeer
}

// Work applies the event as every contender's consumer does, in one transaction
// with the completion of its job.
func (w *riverWorker) Work(ctx context.Context, job *river.Job[riverArgs]) error {
	tx, err := w.peer.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `INSERT INTO river_state (key, n) VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET n = river_state.n + 1`, job.Args.Key); err != nil {
		return err
	}
	if _, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	w.peer.tally.Load().apply(job.Args.Index)
	return nil
}

func startRiver(ctx context.Context, postgresURL, _ string) (contender, error) {
	config, err := pgxpool.ParseConfig(postgresURL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 24
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS river_state (key text PRIMARY KEY, n bigint NOT NULL)`); err != nil {
		return nil, err
	}
	p := &riverPeer{pool: pool}
	p.record = p.insert
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{peer: p})
	p.client, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100, FetchCooldown: time.Millisecond, FetchPollInterval: 50 * time.Millisecond}},
		Workers: workers, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return p, p.client.Start(ctx)
}

func (p *riverPeer) name() string { return "River v0.51.0 (no broker)" }

func (p *riverPeer) insert(ctx context.Context, i int) error {
	_, err := p.client.Insert(ctx, riverArgs{Index: i, Key: key(i), Filler: filler}, nil)
	return err
}

func (p *riverPeer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = p.client.Stop(ctx)
	p.pool.Close()
}

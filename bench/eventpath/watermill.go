package main

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/nats-io/nats.go"
)

const (
	outboxTopic = "wm_outbox"
	eventTopic  = "wm_events"
)

type watermillPeer struct {
	counted
	db        *stdsql.DB
	forwarder *forwarder.Forwarder
	publisher message.Publisher
	consumer  *wnats.Subscriber
	stop      context.CancelFunc
}

type watermillEvent struct {
	Index  int    `json:"index"`
	Key    string `json:"key"`
	Filler string `json:"filler"`
}

func startWatermill(ctx context.Context, postgresURL, natsURL string) (contender, error) {
	db, err := stdsql.Open("pgx", postgresURL)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(24)
	db.SetMaxIdleConns(24)
	for _, ddl := range []string{
		`CREATE TABLE IF NOT EXISTS wm_state (key text PRIMARY KEY, n bigint NOT NULL)`,
		`CREATE TABLE IF NOT EXISTS wm_inbox (id text PRIMARY KEY)`,
	} {
		if _, err := db.ExecContext(ctx, ddl); err != nil {
			return nil, err
		}
	}
	logger := watermill.NopLogger{}
	deadline := 30 * time.Second
	subscriber, err := wsql.NewSubscriber(db, wsql.SubscriberConfig{
		SchemaAdapter: wsql.DefaultPostgreSQLSchema{SubscribeBatchSize: 1000}, OffsetsAdapter: wsql.DefaultPostgreSQLOffsetsAdapter{},
		InitializeSchema: true, PollInterval: time.Millisecond, AckDeadline: &deadline,
	}, logger)
	if err != nil {
		return nil, err
	}
	if err := subscriber.SubscribeInitialize(outboxTopic); err != nil {
		return nil, err
	}
	jet := wnats.JetStreamConfig{AutoProvision: true, TrackMsgId: true, DurablePrefix: "wm",
		SubscribeOptions: []nats.SubOpt{nats.DeliverAll(), nats.AckExplicit(), nats.MaxAckPending(1000)}}
	marshaler := &wnats.NATSMarshaler{}
	publisher, err := wnats.NewPublisher(wnats.PublisherConfig{URL: natsURL, Marshaler: marshaler, JetStream: jet}, logger)
	if err != nil {
		return nil, err
	}
	forward, err := forwarder.NewForwarder(subscriber, publisher, logger, forwarder.Config{ForwarderTopic: outboxTopic})
	if err != nil {
		return nil, err
	}
	consumer, err := wnats.NewSubscriber(wnats.SubscriberConfig{URL: natsURL, Unmarshaler: marshaler, JetStream: jet,
		SubscribersCount: 8, QueueGroupPrefix: "wm", AckWaitTimeout: 30 * time.Second, CloseTimeout: 5 * time.Second}, logger)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &watermillPeer{db: db, forwarder: forward, publisher: publisher, consumer: consumer, stop: cancel}
	p.record = p.publish
	messages, err := consumer.Subscribe(running, eventTopic)
	if err != nil {
		return nil, err
	}
	go func() { _ = forward.Run(running) }()
	for range 8 {
		go func() {
			for m := range messages {
				if p.apply(running, m) == nil {
					m.Ack()
				} else {
					m.Nack()
				}
			}
		}()
	}
	select {
	case <-forward.Running():
	case <-time.After(10 * time.Second):
		return nil, fmt.Errorf("the forwarder did not start")
	}
	return p, nil
}

func (p *watermillPeer) name() string { return "watermill forwarder (watermill-sql v3)" }

// publish puts the event in the outbox, in a transaction of its own, as a service
// with nothing else to write would.
func (p *watermillPeer) publish(ctx context.Context, i int) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	outbox, err := wsql.NewPublisher(tx, wsql.PublisherConfig{SchemaAdapter: wsql.DefaultPostgreSQLSchema{}}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	payload, err := json.Marshal(watermillEvent{i, key(i), filler})
	if err != nil {
		return err
	}
	err = forwarder.NewPublisher(outbox, forwarder.PublisherConfig{ForwarderTopic: outboxTopic}).
		Publish(eventTopic, message.NewMessage(watermill.NewUUID(), payload))
	if err != nil {
		return err
	}
	return tx.Commit()
}

// apply is the consumer: inbox and state in one transaction, then the ack.
func (p *watermillPeer) apply(ctx context.Context, m *message.Message) error {
	var e watermillEvent
	if err := json.Unmarshal(m.Payload, &e); err != nil {
		return err
	}
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	res, err := tx.ExecContext(ctx, `INSERT INTO wm_inbox (id) VALUES ($1) ON CONFLICT DO NOTHING`, m.UUID)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO wm_state (key, n) VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET n = wm_state.n + 1`, e.Key); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	p.tally.Load().apply(e.Index)
	return nil
}

func (p *watermillPeer) close() {
	p.stop()
	_ = p.consumer.Close()
	_ = p.forwarder.Close()
	_ = p.publisher.Close()
	_ = p.db.Close()
}

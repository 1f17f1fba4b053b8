package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A producer publishes a day's flights and never learns who reads them. It
// uploads the file and announces it by NATS, Kafka and HTTP in turn.
type producer struct {
	api   *api
	nats  jetstream.JetStream
	kafka *kafka.Client
	turn  int
}

func newProducer(a *api, natsURL, kafkaAddr string) (*producer, func(), error) {
	nc, err := nats.Connect(natsURL, nats.Name("flights producer"))
	if err != nil {
		return nil, nil, fmt.Errorf("connecting the producer to NATS: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return &producer{api: a, nats: js, kafka: kafka.New(kafkaAddr)}, nc.Close, nil
}

// publish announces one file and says by which way it went.
func (p *producer) publish(ctx context.Context, name string, file []byte, at time.Time) (string, error) {
	var ref struct {
		Digest string `json:"digest"`
	}
	if err := p.api.do(ctx, http.MethodPut, "/v1/files", "application/vnd.apache.parquet", file, &ref); err != nil {
		return "", fmt.Errorf("uploading %s: %w", name, err)
	}
	event, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": name, "source": "/example/flights-producer", "type": "com.example.flights.arrived",
		"time": at.Format(time.RFC3339), "datacontenttype": "application/json",
		"data": map[string]any{"dataset": "flights", "files": []any{map[string]any{
			"uri": "objects:" + ref.Digest, "format": "parquet", "name": name}}},
	})
	if err != nil {
		return "", err
	}
	defer func() { p.turn++ }()
	const structured = "application/cloudevents+json"
	switch p.turn % 3 {
	case 0:
		msg := nats.NewMsg("freshet-in.default.flights")
		msg.Header.Set("Content-Type", structured)
		msg.Data = event
		_, err = p.nats.PublishMsg(ctx, msg)
		return "NATS", err
	case 1:
		err = p.kafka.Produce(ctx, "freshet.in", kafka.Record{Key: []byte("default/flights"), Value: event,
			Headers: []kafka.Header{{Key: "content-type", Value: []byte(structured)}}})
		return "Kafka", err
	default:
		return "HTTP", p.api.do(ctx, http.MethodPost, "/v1/arrivals", structured, event, nil)
	}
}

package testkit

import (
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Clock returns a driven clock that stands at 6 January 2001, 00:00 UTC.
func Clock() *clock.Driven {
	return clock.NewDriven(time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC))
}

// NATS returns a connection, with all permissions, to a server of the test's own
// with JetStream.
func NATS(t testing.TB) *nats.Conn {
	t.Helper()
	return natsConn(t, natsServer(t))
}

func natsServer(t testing.TB) *natsserver.Server {
	t.Helper()
	server, err := natsserver.Start(natsserver.Options{DataDir: t.TempDir(), Users: []natsserver.User{natsserver.All("test")}})
	if err != nil {
		t.Fatalf("NATS for tests: %v", err)
	}
	t.Cleanup(server.Stop)
	return server
}

func natsConn(t testing.TB, server *natsserver.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(server.URL("test"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatalf("NATS for tests: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// SilenceConsumers has a stream's consumers give nothing more, without an error.
func SilenceConsumers(t testing.TB, nc *nats.Conn, stream string) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	names := s.ConsumerNames(t.Context())
	silenced := 0
	for name := range names.Name() {
		if _, err := js.PauseConsumer(t.Context(), stream, name, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		silenced++
	}
	if names.Err() != nil || silenced == 0 {
		t.Fatalf("no consumer of %s was silenced: %v", stream, names.Err())
	}
}

// Kafka returns a client of a broker of the test's own.
func Kafka(t testing.TB) *kafka.Client {
	t.Helper()
	client := kafka.New(KafkaAddr(t))
	t.Cleanup(client.Close)
	return client
}

// KafkaAddr returns the address of a broker of the test's own.
func KafkaAddr(t testing.TB) string {
	t.Helper()
	server, err := kafkaserver.Start(kafkaserver.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatalf("Kafka for tests: %v", err)
	}
	t.Cleanup(server.Stop)
	return server.Addr()
}

package testkit

import (
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
)

// Clock returns a driven clock that stands at 6 January 2001, 00:00 UTC.
func Clock() *clock.Driven {
	return clock.NewDriven(time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC))
}

// Postgres returns a pool of an empty database of the test's own.
func Postgres(t testing.TB) *pgxpool.Pool {
	t.Helper()
	t.Fatal("not available")
	return nil
}

// NATS returns a connection, with all permissions, to a server of the test's own
// with JetStream.
func NATS(t testing.TB) *nats.Conn {
	t.Helper()
	t.Fatal("not available")
	return nil
}

// Kafka returns a client of a broker of the test's own.
func Kafka(t testing.TB) *kafka.Client {
	t.Helper()
	t.Fatal("not available")
	return nil
}

// Objects returns an empty store.
func Objects(t testing.TB) *objects.Store {
	t.Helper()
	t.Fatal("not available")
	return nil
}

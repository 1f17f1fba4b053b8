package eventlog

import (
	"log/slog"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// Status is how far a service is.
type Status struct {
	Position uint64 // last sequence of the log applied
	End      uint64 // last sequence in the log, when last seen
	Outbox   int64  // recorded, not yet in the log
	Effects  int64  // open and able to run now
	Parked   int64
	Err      error // what stalls or stopped the processor or the relay
}

// Options are what a Log needs. Pool's search_path is set by Open per connection
// use; the caller gives a pool of the suite's database. Its application_name is to be
// this process's alone, as SessionName makes one: sessions of that name are ended together
// where the process is frozen. Without a name, Open chooses one; replicas of one name
// never end each other.
type Options struct {
	Fold       *Fold
	IsDecision func(typ string) bool // events.IsDecision
	Codec      Codec
	Pool       *pgxpool.Pool
	NATS       *nats.Conn
	// Attested: audit runs too, and nothing is published or applied before it has
	// attested the log. Without it, what this service applied is all that the log is
	// held against, and nobody puts back what the log's server lost.
	Attested bool
	Archive  *archive.Reader // the log's past beyond JetStream; nil where there is none
	Clock    clock.Clock
	Handlers []Handler
	Batch    int // events that share a transaction at most; 256 if zero
	// PlainSQL: a replay sends the fold's statements as they are, and merges none of them
	// into statements over arrays. It is slower, and the same.
	PlainSQL bool
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Package guardian is the log guardian: it attests, to every service, which stream is
// the log; it opens the next epoch where the log's server came back with fewer events
// than the archive and the services know; and it trims the log.
//
// # Guarantees
//
// An attestation holds for one process of the log's server and one stream. The guardian
// gives it only when the stream holds the archive's last event at the archive's
// sequence, and every event that a service had applied at the sequence where it was
// applied. A service whose position is not certain (it did not report that it stopped)
// is waited for. Where nothing shows that the log is older than it was, the guardian
// waits no longer than Wait: such a service compares its own position with the log when
// it starts.
//
// A new epoch begins with what the archive holds, then what any service had applied,
// every event at its old sequence with its old bytes: every decision keeps its causes.
// Events that no service had applied follow after that, published by the relays from
// the outboxes. Streams of older epochs stay, under subjects to which nobody publishes.
//
// Only the guardian trims the log. It removes events that the archive holds byte for
// byte and that every registered service has applied, as Trimming says. Who needs a
// trimmed event reads it from the archive.
//
// # How it fails
//
// Without an attestation no service publishes or applies. The answer to a service names
// what is missing, with its exact sequences, and a restart comes to the same answer:
// the guardian stores nothing that it could not find again, except the names and the
// positions of the services. It never invents an order: an event beyond the archive
// gets the sequence at which a service applied it, or the one in audit's index; where
// there is neither, the log is not attested.
package guardian

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/services/audit/internal/log/leaderlock"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options of a guardian.
type Options struct {
	NATS    *nats.Conn // its options are used for the guardian's own connections
	Pool    *pgxpool.Pool
	Archive *archive.Reader                             // nil where the log is not archived
	Restore func(context.Context, []kafka.Record) error // appends to the archive
	Codec   eventlog.Codec
	Logger  *slog.Logger
	Wait    time.Duration // for services that were not heard of, where the log looks whole
	Trim    Trimming
}

// Guardian attests the log, for one process of several: the leader lock chooses it.
type Guardian struct {
	o         Options
	at        atomic.Pointer[attestation]
	forgotten atomic.Bool // a service was removed from the list
}

// An attestation says which stream is the log, while the server process lives.
type attestation struct {
	stream  string
	created time.Time
}

// New returns a guardian; Run starts it.
func New(o Options) *Guardian { return &Guardian{o: o} }

const (
	advanceEvery = 50 * time.Millisecond
	checkEvery   = time.Second // at an attested stream
	retryFirst   = 50 * time.Millisecond
	retryLast    = 2 * time.Second
	askTimeout   = 10 * time.Second
)

// Run answers services until the context ends, in one process of several: another
// one waits for its turn.
func (g *Guardian) Run(ctx context.Context) {
	alone := leaderlock.New(g.o.Pool, "guardian")
	pause := retryFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := alone.Run(ctx, g.session)
		g.at.Store(nil)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = retryFirst
		}
		g.o.Logger.Warn("the log is checked again", "reason", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, retryLast)
	}
}

// session answers through one connection to one server process.
func (g *Guardian) session(ctx context.Context) error {
	lost := make(chan struct{})
	nc, err := attest.Dial(g.o.NATS, func() { close(lost) })
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	began := time.Now()
	r := &round{g: g, nc: nc, js: js, server: attest.Server(nc), began: began, heard: map[string]*heard{}, found: map[origin][]byte{}, lacking: map[origin]bool{}}
	if r.registered, err = g.registered(ctx); err != nil {
		return err
	}
	reports := make(chan *nats.Msg, 256)
	if _, err := nc.ChanSubscribe(attest.Subject, reports); err != nil {
		return fmt.Errorf("listening for reports: %w", err)
	}
	g.o.Logger.Info("the log's server is new; its log must be attested", "server", r.server)
	tick := time.NewTicker(advanceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lost:
			return errors.New("the log's server is unavailable")
		case m := <-reports:
			if err := r.report(ctx, m); err != nil {
				return err
			}
			continue
		case <-tick.C:
		}
		if err := r.advance(ctx); err != nil {
			return err
		}
	}
}

// attest lets everybody continue with a stream.
func (r *round) attest(stream string, created time.Time) {
	r.at = &attestation{stream: stream, created: created}
	r.g.at.Store(r.at)
	r.found, r.lacking, r.wanted = map[origin][]byte{}, map[origin]bool{}, nil
	r.g.o.Logger.Info("the log is attested", "stream", stream, "server", r.server)
}

// report takes in what a service says, and answers it.
func (r *round) report(ctx context.Context, m *nats.Msg) error {
	var p attest.Report
	if err := json.Unmarshal(m.Data, &p); err != nil || p.Service == "" {
		r.g.o.Logger.Warn("a report of the log's position cannot be read", "error", err)
		return nil
	}
	if p.Server == r.server && !p.Follows {
		if err := r.note(ctx, p); err != nil {
			return err
		}
		if r.at == nil {
			if err := r.advance(ctx); err != nil {
				return err
			}
		}
	}
	b, err := json.Marshal(r.answer(p))
	if err != nil {
		return err
	}
	if err := m.Respond(b); err != nil {
		return fmt.Errorf("answering %s: %w", p.Service, err)
	}
	return nil
}

// maxWanted is how many events are asked for at once.
const maxWanted = 500

func (r *round) answer(p attest.Report) attest.Answer {
	a := attest.Answer{Server: r.server, Archived: r.archived, Kept: r.g.o.Archive != nil}
	if r.at != nil {
		a.Attested, a.Stream, a.Created = true, r.at.stream, r.at.created
		return a
	}
	a.Wait, a.Alarm = r.wait, r.alarm
	if h := r.heard[p.Service]; h != nil && r.examined && !p.Runs && !h.tailDone {
		a.WantTail, a.TailAfter = true, h.tailAfter(r.archived)
	}
	for _, w := range r.wanted {
		if w.source == sourcePrefix+p.Service && r.found[w] == nil && !r.lacking[w] && len(a.Want) < maxWanted {
			a.Want = append(a.Want, w.sequence)
		}
	}
	return a
}

// Package keeper keeps the log one log: it attests, to every service, the stream
// that may be gone on with, opens the next epoch where the log's server came back
// with less than the archive and the services know, and trims the log.
//
// # Guarantees
//
// An attestation holds for one process of the log's server and one stream. It is
// given only when the stream holds the archive's last event at its place, and, at
// their places, every event that a service had applied. Services whose position is
// not known for certain (they did not say that they stopped) are waited for; where
// the log shows no sign of being older, not longer than Wait, because such a service
// still holds its own position against the log when it comes.
//
// A new epoch holds what the archive holds, and behind it what anybody had applied,
// every event at its old sequence with its old bytes: nothing that was decided
// because of it becomes untrue. What was not applied by anybody comes after it, from
// the outboxes, by their relays. Old streams stay, under subjects where nobody
// publishes.
//
// The log is trimmed here alone: events that the archive was found to hold byte for
// byte and that every registered service has applied, as Trimming asks. Whoever needs
// them again reads the archive.
//
// # How it fails
//
// Without an answer nobody publishes or applies. What is missing is told in the
// answer, with its exact sequences, and the same is true after every restart: the
// keeper remembers nothing that it could not find out again but the names and
// positions of the services. It never invents an order: an event beyond the archive
// goes where somebody applied it, or where audit's own index has it, or the log is
// not attested.
package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/services/audit/internal/owner"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options of a keeper.
type Options struct {
	NATS    *nats.Conn // its options are used for connections of the keeper's own
	Pool    *pgxpool.Pool
	Archive *archive.Reader                             // nil where the log is not archived
	Restore func(context.Context, []kafka.Record) error // appends to the archive
	Codec   eventlog.Codec
	Logger  *slog.Logger
	Wait    time.Duration // for services that were not heard of, where the log looks whole
	Trim    Trimming
}

// Keeper is the one that attests.
type Keeper struct {
	o         Options
	at        atomic.Pointer[attestation]
	forgotten atomic.Bool // somebody was taken off the list
}

// An attestation says which stream is the log, while the server process lives.
type attestation struct {
	stream  string
	created time.Time
}

// New returns a keeper; Run makes it work.
func New(o Options) *Keeper { return &Keeper{o: o} }

const (
	advanceEvery = 50 * time.Millisecond
	lookEvery    = time.Second // at an attested stream
	retryFirst   = 50 * time.Millisecond
	retryLast    = 2 * time.Second
	askTimeout   = 10 * time.Second
)

// Run answers services until the context ends, in one process of several: another
// one waits for its turn.
func (k *Keeper) Run(ctx context.Context) {
	alone := owner.New(k.o.Pool, "keeper")
	pause := retryFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := alone.Run(ctx, k.session)
		k.at.Store(nil)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = retryFirst
		}
		k.o.Logger.Warn("the log is looked at again", "because", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, retryLast)
	}
}

// session answers through one connection to one server process.
func (k *Keeper) session(ctx context.Context) error {
	lost := make(chan struct{})
	nc, err := epoch.Dial(k.o.NATS, func() { close(lost) })
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	began := time.Now()
	r := &round{k: k, nc: nc, js: js, server: epoch.Server(nc), began: began, heard: map[string]*heard{}, found: map[place][]byte{}, lacking: map[place]bool{}}
	if r.registered, err = k.registered(ctx); err != nil {
		return err
	}
	reports := make(chan *nats.Msg, 256)
	if _, err := nc.ChanSubscribe(epoch.Subject, reports); err != nil {
		return fmt.Errorf("listening for reports: %w", err)
	}
	k.o.Logger.Info("the log's server is new; the log is to be attested", "server", r.server)
	tick := time.NewTicker(advanceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-lost:
			return errors.New("the log's server is away")
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

// attest lets everybody go on with a stream.
func (r *round) attest(stream string, created time.Time) {
	r.at = &attestation{stream: stream, created: created}
	r.k.at.Store(r.at)
	r.found, r.lacking, r.wanted = map[place][]byte{}, map[place]bool{}, nil
	r.k.o.Logger.Info("the log is attested", "stream", stream, "server", r.server)
}

// report takes in what a service says, and answers it.
func (r *round) report(ctx context.Context, m *nats.Msg) error {
	var p epoch.Report
	if err := json.Unmarshal(m.Data, &p); err != nil || p.Service == "" {
		r.k.o.Logger.Warn("a report of the log's position cannot be read", "error", err)
		return nil
	}
	if p.Server == r.server && !p.Follows {
		if err := r.take(ctx, p); err != nil {
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

func (r *round) answer(p epoch.Report) epoch.Answer {
	a := epoch.Answer{Server: r.server, Archived: r.archived, Kept: r.k.o.Archive != nil}
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

package registry_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/stretchr/testify/require"
)

// An aliasOp is one client's: it brings a version to production, by a promotion or
// a rollback, or reads which version is there.
type aliasOp struct {
	read    bool
	version int64
}

// An alias is a register that is swapped: who writes learns what was there before.
var alias = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		champion, op, saw := state.(int64), input.(aliasOp), output.(int64)
		if op.read {
			return saw == champion, state
		}
		return saw == champion, op.version
	},
	DescribeOperation: func(input, output any) string {
		if op := input.(aliasOp); !op.read {
			return fmt.Sprintf("%d instead of %d", op.version, output)
		}
		return fmt.Sprintf("read %d", output)
	},
}

// Clients move one model's alias at once, forward and back, while others read it
// over HTTP: each history can be put into one order that explains every answer.
func TestPromise13RegistryTransitionsAreLinearizable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := &waiter{b: b}
	const atOnce, clients, each, versions = 16, 4, 4, 3
	histories := testkit.Figure(40, 10_000)
	var next sync.Mutex
	begun := 0
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for {
				next.Lock()
				n := begun
				begun++
				next.Unlock()
				if n >= histories || t.Failed() {
					return
				}
				model := fmt.Sprintf("m%d", n)
				w.lock.Lock()
				for v := range versions {
					b.measure(measured(model, fmt.Sprintf("%s-run-%d", model, v), func(p *events.CandidateMeasured) { p.Gates = []events.Rule{} }))
				}
				w.lock.Unlock()
				if history := w.history(model, clients, each, versions); !porcupine.CheckOperations(alias, history) {
					t.Errorf("no order explains the history of %s: %s", model, describe(history))
				}
			}
		})
	}
	all.Wait()
}

// A waiter learns what became of what it said in the other services' name.
type waiter struct {
	b    *bundle
	lock sync.Mutex // around what is said: a source's events have one order
	n    int
}

func (w *waiter) history(model string, clients, each, versions int) []porcupine.Operation {
	began := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var all sync.WaitGroup
	for client := range clients {
		r := rand.New(rand.NewPCG(rand.Uint64(), uint64(client))) //nolint:gosec // not negative
		all.Go(func() {
			for range each {
				op := aliasOp{read: r.IntN(2) == 0, version: 1 + r.Int64N(int64(versions))}
				call := time.Since(began)
				var saw int64
				var err error
				if op.read {
					saw, err = w.read(model)
				} else {
					saw, err = w.move(model, op.version, []string{"promotion", "rollback"}[r.IntN(2)])
				}
				if err != nil {
					w.b.t.Errorf("%s: %v", model, err)
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: op, Output: saw, Call: int64(call), Return: int64(time.Since(began))})
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return history
}

// move brings a version to production, as deployment would say it, and returns what
// the registry says was there before, once it says so.
func (w *waiter) move(model string, version int64, kind string) (int64, error) {
	w.lock.Lock()
	w.n++
	done := w.b.complete(model, "production", version, kind, fmt.Sprintf("rollout-%d", w.n))
	w.lock.Unlock()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		changed := w.b.Log.Changed()
		// What the registry knows of the rollout's end, and of what it changed, is one
		// transaction: once it has applied the one, the other is in its outbox.
		var applied, moved bool
		var previous *int64
		err := w.b.Pool.QueryRow(w.b.t.Context(), `SELECT coalesce((SELECT sequence FROM fold_sources WHERE source = '/freshet/deployment') >= $1, false),
				c.e IS NOT NULL, (c.e -> 'data' ->> 'previous')::bigint
			FROM (VALUES (1)) AS one LEFT JOIN (SELECT convert_from(event, 'UTF8')::jsonb AS e FROM registry_io.outbox WHERE cause = $2) AS c ON c.e ->> 'type' = $3`,
			int64(eventlog.Sequence(done)), done.ID(), events.TypeChampionChanged).Scan(&applied, &moved, &previous) //nolint:gosec // a sequence
		switch {
		case err != nil:
			return 0, err
		case moved:
			return value(previous), nil
		case applied:
			return version, nil // it was there already
		}
		select {
		case <-changed:
		case <-time.After(time.Until(deadline)):
			return 0, fmt.Errorf("%s was not applied", done.ID())
		}
	}
}

// read asks the registry over HTTP.
func (w *waiter) read(model string) (int64, error) {
	res, err := http.Get(w.b.URL + "/v1/models/" + model)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	if res.StatusCode == http.StatusNotFound {
		return 0, nil // its first version is not there yet
	}
	var m struct {
		Champions []struct {
			Environment string
			Version     int64
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil {
		return 0, err
	}
	for _, c := range m.Champions {
		if c.Environment == "production" {
			return c.Version, nil
		}
	}
	return 0, nil
}

func describe(history []porcupine.Operation) string {
	s := ""
	for _, o := range history {
		s += fmt.Sprintf("\n client %d %s from %d to %d", o.ClientId, alias.DescribeOperation(o.Input, o.Output), o.Call, o.Return)
	}
	return s
}

// The model says no to what is not linearizable: a test of the test.
func TestTheAliasModelRefusesALostMove(t *testing.T) {
	t.Parallel()
	op := func(client int, op aliasOp, saw, from, to int64) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: op, Output: saw, Call: from, Return: to}
	}
	good := []porcupine.Operation{
		op(0, aliasOp{version: 1}, 0, 0, 5), op(1, aliasOp{version: 2}, 1, 1, 6), op(2, aliasOp{read: true}, 1, 2, 7),
	}
	require.True(t, porcupine.CheckOperations(alias, good))
	for _, bad := range [][]porcupine.Operation{
		{op(0, aliasOp{version: 1}, 0, 0, 5), op(1, aliasOp{version: 2}, 0, 1, 6)}, // both replaced nothing
		{op(0, aliasOp{version: 1}, 0, 0, 5), op(1, aliasOp{read: true}, 0, 6, 7)}, // an old answer
		{op(0, aliasOp{version: 1}, 0, 0, 1), op(1, aliasOp{read: true}, 2, 2, 3)}, // never there
	} {
		require.False(t, porcupine.CheckOperations(alias, bad))
	}
}

package eventlog

import (
	"context"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/stretchr/testify/require"
)

// fragile is a fold that cannot take some numbers: 13 panics, 14 divides by zero
// in SQL, 15 is refused, 16 fails in decide; until they are repaired.
func fragile(repaired func() bool) *Fold {
	f := NewFold("fragile", 1, `
		CREATE TABLE seen (id text COLLATE "C" PRIMARY KEY, subject text COLLATE "C" NOT NULL, n bigint NOT NULL, place bigint NOT NULL);
		CREATE TABLE counted (subject text COLLATE "C" PRIMARY KEY, n bigint NOT NULL);`)
	f.Apply(full("fragile.added"), func(ctx context.Context, tx *Tx, e event.Event) error {
		p, err := payloadOf(e)
		if err != nil {
			return Invalid(err)
		}
		tx.Exec("INSERT INTO seen SELECT $1, $2, $3, count(*) FROM seen", e.ID(), e.Subject(), p.N)
		if p.N == 17 {
			tx.Open(Effect{Kind: "later"})
		}
		if repaired() {
			return nil
		}
		switch p.N {
		case 13:
			panic("thirteen")
		case 14:
			tx.Exec("SELECT 1 / ($1::int - 14)", p.N)
		case 15:
			return Invalid(ErrConflict)
		}
		return nil
	})
	f.Decide(full("fragile.added"), func(ctx context.Context, state Reader, e event.Event, now time.Time) ([]event.Event, error) {
		p, err := payloadOf(e)
		if err != nil {
			return nil, err
		}
		if p.N == 16 && !repaired() {
			var n int
			return nil, state.QueryRow(ctx, "SELECT 'x'::int").Scan(&n)
		}
		if p.N%2 == 1 {
			return nil, nil
		}
		return []event.Event{draft("fragile.counted", e.Subject(), payload{N: p.N})}, nil
	})
	f.Apply(full("fragile.counted"), func(ctx context.Context, tx *Tx, e event.Event) error {
		p, err := payloadOf(e)
		tx.Exec("INSERT INTO counted VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET n = counted.n + excluded.n", e.Subject(), p.N)
		return err
	})
	return f
}

func TestAFaultyEventIsParkedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	well := false
	l := w.start(fragile(func() bool { return well }))
	ctx := context.Background()
	var ids []string
	for _, c := range []struct {
		subject string
		n       int
		reason  string
	}{{"a", 13, "panic"}, {"b", 14, "sql 22012"}, {"c", 15, "invalid"}, {"d", 16, "sql 22P02"}} {
		r, err := l.RecordAndWait(ctx, fact("fragile.added", c.subject, c.n))
		require.ErrorIs(t, err, ErrParked)
		require.ErrorContains(t, err, c.reason)
		ids = append(ids, r[0].ID)
	}
	// Others continue; who comes behind a parked event of its subject waits.
	_, err := l.RecordAndWait(ctx, fact("fragile.added", "e", 2))
	require.NoError(t, err)
	for _, s := range []string{"a", "b", "c", "d"} {
		_, err = l.RecordAndWait(ctx, fact("fragile.added", s, 4))
		require.ErrorIs(t, err, ErrParked)
	}
	// So does who belongs to its ripple.
	_, err = l.RecordAndWait(ctx, Fact{Event: draft("fragile.added", "z", payload{N: 6}), Cause: Cause{ID: ids[0], Correlation: ids[0]}})
	require.ErrorIs(t, err, ErrParked)
	settle(t, l)
	require.EqualValues(t, 4, l.Status(ctx).Parked)

	// A retry that fails again parks again, and nothing moves.
	retry := func(what, id string) Fact {
		return Fact{Event: draft("fragile."+what, id, map[string]string{"event": id})}
	}
	_, err = l.RecordAndWait(ctx, retry(engine.Retried, ids[0]))
	require.NoError(t, err)
	settle(t, l)
	require.EqualValues(t, 4, l.Status(ctx).Parked)

	well = true
	_, err = l.RecordAndWait(ctx, retry(engine.Retried, ids[0]), retry(engine.Discarded, ids[1]), retry(engine.Retried, ids[2]), retry(engine.Retried, ids[3]))
	require.NoError(t, err)
	settle(t, l)
	require.Zero(t, l.Status(ctx).Parked)
	var order string
	require.NoError(t, l.State().QueryRow(ctx, "SELECT string_agg(subject || n, ' ' ORDER BY place) FROM seen").Scan(&order))
	require.Equal(t, "e2 a13 a4 z6 b4 c15 c4 d16 d4", order)
	var counted string
	require.NoError(t, l.State().QueryRow(ctx, "SELECT string_agg(subject || n, ' ' ORDER BY subject) FROM counted").Scan(&counted))
	require.Equal(t, "a4 b4 c4 d20 e2 z6", counted)
	sequences(t, w.wholeLog())

	// The same again, from nothing but the log.
	before := w.dump("fragile", "seen", "counted")
	again := w.rebuild("fragile", fragile(func() bool { return true }), "seen", "counted")
	require.Equal(t, before, again)
}

func TestAnAnswerToAParkedEventLetsTheOthersGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	well := false
	l := w.start(fragile(func() bool { return well }))
	ctx := context.Background()
	park := func(subject string, n int) string {
		r, err := l.RecordAndWait(ctx, fact("fragile.added", subject, n))
		require.ErrorIs(t, err, ErrParked)
		return r[0].ID
	}
	a, waiting := park("a", 13), park("a", 4)
	park("a", 6)
	c := park("c", 15)

	parked, err := l.ParkedEvents(ctx)
	require.NoError(t, err)
	require.Len(t, parked, 2)
	require.Equal(t, []any{a, full("fragile.added"), "a", "panic", 2},
		[]any{parked[0].ID, parked[0].Type, parked[0].Subject, parked[0].Reason, parked[0].Behind})
	require.Equal(t, []any{c, 0}, []any{parked[1].ID, parked[1].Behind})

	for _, id := range []string{waiting, "unheard-of"} {
		_, err = l.ResolveParked(ctx, id, Discard, "someone")
		require.ErrorIs(t, err, ErrNotParked)
	}
	_, err = l.ResolveParked(ctx, a, "forget", "someone")
	require.ErrorContains(t, err, "forget")

	receipts, err := l.ResolveParked(ctx, a, Discard, "someone")
	require.NoError(t, err)
	well = true
	_, err = l.ResolveParked(ctx, c, Retry, "someone")
	require.NoError(t, err)
	settle(t, l)
	require.Zero(t, l.Status(ctx).Parked)
	var order string
	require.NoError(t, l.State().QueryRow(ctx, "SELECT string_agg(subject || n, ' ' ORDER BY place) FROM seen").Scan(&order))
	require.Equal(t, "a4 a6 c15", order)
	for _, e := range w.wholeLog() {
		if e.ID() == receipts[0].ID {
			require.Equal(t, []string{full("fragile.event_discarded"), a, "someone"}, []string{e.Type(), e.Subject(), Actor(e)})
		}
	}
}

func TestAnUnreadableEventIsParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, other := w.start(counts("adder")), w.start(NewFold("other", 1, ""))
	ctx := context.Background()
	_, err := other.Record(ctx, Fact{Event: draft("other.added", "x", "a text, not an object")})
	require.NoError(t, err)
	_, err = other.Record(ctx, fact("other.added", "y", 2))
	require.NoError(t, err)
	settle(t, a, other)
	require.EqualValues(t, 1, a.Status(ctx).Parked)
	n, _ := sum(t, a, "y")
	require.Equal(t, 2, n)
}

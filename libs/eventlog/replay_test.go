package eventlog

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/outbox"
	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// summed runs a fold that adds and doubles, over a few subjects.
func summed(t *testing.T, w *world, events int) (*Log, func()) {
	t.Helper()
	l := w.open(counts("adder"))
	stop := run(t, l)
	var facts []Fact
	for i := range events {
		facts = append(facts, fact("adder.added", fmt.Sprint(i%3), i))
	}
	_, err := l.RecordAndWait(context.Background(), facts...)
	require.NoError(t, err)
	settle(t, l)
	return l, stop
}

func (w *world) exec(sql string) {
	w.t.Helper()
	conn, err := pgx.Connect(context.Background(), w.url)
	require.NoError(w.t, err)
	defer conn.Close(context.Background()) //nolint:errcheck // of a test
	_, err = conn.Exec(context.Background(), sql)
	require.NoError(w.t, err)
}

// schemas are those that a service's replays left.
func (w *world) schemas(service string) []string {
	w.t.Helper()
	conn, err := pgx.Connect(context.Background(), w.url)
	require.NoError(w.t, err)
	defer conn.Close(context.Background()) //nolint:errcheck // of a test
	rows, err := conn.Query(context.Background(), "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE $1 ORDER BY 1", service+"%")
	require.NoError(w.t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(w.t, err)
	return names
}

func TestRecordedDecisionsOfAYoungOutboxAreFoundByTheIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l := w.open(counts("adder"))
	w.exec("ALTER TABLE adder_io.outbox SET (autovacuum_enabled = false)")
	w.exec(`INSERT INTO adder_io.outbox (sequence, id, cause, subject, event)
		SELECT g, md5(g::text)::uuid, CASE WHEN g % 5 = 0 THEN md5((g - 1)::text) END, 's', convert_to(repeat('e', 780), 'utf8') FROM generate_series(1, 20000) g`)
	var causes []string
	var numbers []int64
	for i := range 256 {
		sum := md5.Sum([]byte(strconv.Itoa(i)))
		causes = append(causes, hex.EncodeToString(sum[:]))
		if i > 0 && i%5 == 0 {
			numbers = append(numbers, int64(i))
		}
	}
	for sql, of := range map[string]struct {
		which        any
		index, other string
	}{
		outbox.DecisionsOfSQL: {causes, "outbox_cause", "outbox_pkey"},
		outbox.DecisionsAtSQL: {numbers, "outbox_pkey", "outbox_cause"},
	} {
		rows, err := l.pool.Query(ctx, "EXPLAIN (ANALYZE, TIMING OFF) "+fmt.Sprintf(sql, "adder_io"), of.which)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		plan := strings.Join(lines, "\n")
		require.Contains(t, plan, of.index)
		require.NotContains(t, plan, "Seq Scan")
		require.NotContains(t, plan, of.other)
		require.Contains(t, lines[0], "rows=51", "one decision for every fifth event")
	}
}

// meanwhile does something before the last question of a reader.
type meanwhile struct {
	Reader
	do func()
}

func (m meanwhile) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	m.do()
	return m.Reader.Query(ctx, sql, args...)
}

func TestAReplayFindsADecisionOnceWhileOthersAreMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l, _ := summed(t, w, 30)
	b, err := l.replay.NewShadow(ctx, "adder_shadow")
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close(ctx)) }()
	more := func() {
		_, err := l.RecordAndWait(ctx, fact("adder.added", "1", 1))
		require.NoError(t, err)
	}
	require.NoError(t, b.LocateDecisions(ctx, meanwhile{l.pool, more}))
	more()
	require.NoError(t, b.LocateDecisions(ctx, meanwhile{l.pool, more}))
	require.NoError(t, b.LocateDecisions(ctx, l.pool))
	causes, further := b.Located()
	require.Zero(t, further, "no event led to two")
	require.Equal(t, 33, causes)
}

// A publisher that never heard that its event is stored sends it once more, which the
// log's server may have forgotten.
func TestAnEventThatIsInTheLogTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	other := w.start(NewFold("other", 1, ""))
	l := w.start(countsOthers())
	settle(t, l, other)
	_, err := other.Record(ctx, fact("other.added", "x", 1))
	require.NoError(t, err)
	settle(t, l, other)
	log := w.wholeLog()
	require.Len(t, log, 2)
	js, err := w.connect().JetStream()
	require.NoError(t, err)
	first, err := js.GetMsg(stream, 1)
	require.NoError(t, err)
	again := nats.Header{}
	for name, values := range first.Header {
		if !strings.HasPrefix(name, "Nats-") { // what the server held it against
			again[name] = values
		}
	}
	for range 2 {
		_, err = js.PublishMsg(&nats.Msg{Subject: first.Subject, Header: again, Data: first.Data})
		require.NoError(t, err)
	}
	settle(t, l, other)
	require.Len(t, w.wholeLog(), 4)
	before := w.dump("adder", "sums")
	report, err := l.Verify(ctx, FromLog, nil)
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report.Difference)
	_, err = l.Rebuild(ctx, FromLog, nil)
	require.NoError(t, err)
	require.Equal(t, before, w.dump("adder", "sums"))
}

func TestVerifyFindsEveryAlteredRowWithItsEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	l, _ := summed(t, w, 30)
	var phases []string
	report, err := l.Verify(ctx, FromLog, func(p Progress) { phases = append(phases, p.Phase) })
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report.Difference)
	require.EqualValues(t, 60, report.Events)
	require.EqualValues(t, 30, report.Decisions)
	require.EqualValues(t, 3, report.Rows-2, "beside the rows of position and source")
	require.Equal(t, []string{PhaseFold, PhaseCompare}, phases)
	require.Len(t, report.Digest, 71)

	log := w.wholeLog()
	at := func(subject string, n int) (uint64, event.Event) { // the nth fact of a subject
		for i, e := range log {
			if e.Type() == full("adder.added") && e.Subject() == subject {
				if n--; n == 0 {
					return uint64(i + 1), e
				}
			}
		}
		t.Fatal("no such event")
		return 0, event.Event{}
	}
	for _, c := range []struct {
		what, alter, row, detail string
		subject                  string
		nth                      int
	}{
		{"altered", "UPDATE adder.sums SET n = n + 1 WHERE subject = '1'", "sums 1", "wrote the row last", "1", 10},
		{"missing", "DELETE FROM adder.sums WHERE subject = '2'", "sums 2", "it is not there", "2", 1},
		{"too many", "INSERT INTO adder.sums VALUES ('9', 1, 2)", "sums 9", "no event of the log", "", 0},
		// 0, 3, 6, … : before its last fact the row had 0+3+…+24 = 108, doubled.
		{"one event late", "UPDATE adder.sums SET n = 108, doubled = 216 WHERE subject = '0'", "sums 0", "as it was before", "0", 10},
	} {
		restored := w.tableOf("sums")
		w.exec(c.alter)
		report, err := l.Verify(ctx, FromLog, nil)
		require.NoError(t, err, c.what)
		require.False(t, report.Equal, c.what)
		d := report.Difference
		require.NotNil(t, d, c.what)
		require.Equal(t, DiffersTable, d.Kind, c.what)
		require.Equal(t, c.row, d.Row, c.what)
		require.Contains(t, d.Detail, c.detail, c.what)
		if c.nth > 0 {
			sequence, e := at(c.subject, c.nth)
			require.Equal(t, sequence, d.Sequence, "%s: %+v", c.what, d)
			require.Equal(t, e.ID(), d.Event, c.what)
			require.Equal(t, e.Type(), d.Type, c.what)
		}
		require.NotEqual(t, d.Live, d.Again, c.what)
		w.exec("DELETE FROM adder.sums; INSERT INTO adder.sums VALUES " + restored)
	}
	report, err = l.Verify(ctx, FromLog, nil)
	require.NoError(t, err)
	require.True(t, report.Equal)
	require.Equal(t, []string{"adder", "adder_io"}, w.schemas("adder"))

	// A rebuild repairs what was altered.
	w.exec("UPDATE adder.sums SET n = 0")
	_, err = l.Rebuild(ctx, FromLog, nil)
	require.NoError(t, err)
	report, err = l.Verify(ctx, FromLog, nil)
	require.NoError(t, err)
	require.True(t, report.Equal)
	// And the service continues from there.
	_, err = l.RecordAndWait(ctx, fact("adder.added", "0", 1))
	require.NoError(t, err)
	n, _ := sum(t, l, "0")
	require.Equal(t, 136, n)
	settle(t, l)
	require.Equal(t, []string{"adder", "adder_io"}, w.schemas("adder"))
}

// tableOf is the content of the adder's table as SQL.
func (w *world) tableOf(name string) string {
	w.t.Helper()
	conn, err := pgx.Connect(context.Background(), w.url)
	require.NoError(w.t, err)
	defer conn.Close(context.Background()) //nolint:errcheck // of a test
	var all string
	require.NoError(w.t, conn.QueryRow(context.Background(), "SELECT string_agg(format('(%L, %s, %s)', subject, n, doubled), ', ') FROM adder."+name).Scan(&all))
	return all
}

func TestAnotherDecisionFailsOnlyWhereTheVersionIsTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	_, stop := summed(t, w, 9)
	stop()
	decided := w.wholeLog()[9]
	require.Equal(t, full("adder.doubled"), decided.Type())
	changed := func(version int) *Fold {
		f := counts("adder")
		f.Version = version
		replaceDecide(f, full("adder.added"), func(_ context.Context, _ Reader, e event.Event, _ time.Time) ([]event.Event, error) {
			p, err := payloadOf(e)
			if p.N == 4 {
				return nil, err
			}
			return []event.Event{draft("adder.doubled", e.Subject(), payload{N: 77})}, err
		})
		return f
	}
	l := w.open(changed(1))
	stop = run(t, l)
	settle(t, l)
	require.Eventually(t, l.lease.Leading, stallLimit, pollTest, "it has tidied up after replays that were killed")
	report, err := l.Verify(ctx, FromLog, nil)
	require.NoError(t, err)
	require.False(t, report.Equal)
	require.EqualValues(t, 9, report.Failed)
	require.EqualValues(t, 9, report.Decisions)
	d := report.Difference
	require.Equal(t, DiffersDecision, d.Kind)
	require.EqualValues(t, 1, d.Sequence)
	require.Equal(t, Causation(decided), d.Event)
	require.Contains(t, d.Live, `"n":0`)
	require.Contains(t, d.Again, `"n":77`)
	require.NotContains(t, d.Live, `"sequence"`)
	stop()

	l = w.open(changed(2))
	run(t, l)
	settle(t, l)
	_, err = l.RecordAndWait(ctx, fact("adder.added", "x", 1))
	require.NoError(t, err)
	settle(t, l)
	report, err = l.Verify(ctx, FromLog, nil)
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report.Difference)
	require.EqualValues(t, 9, report.Reported)
	require.EqualValues(t, 10, report.Decisions)
	require.Equal(t, 1, report.Other.Version)
	require.Len(t, w.wholeLog(), 20, "nothing is decided again")
}

func TestAnotherVersionIsRebuiltWhileTheOldOneServesReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	_, stop := summed(t, w, 200)
	stop()
	before := w.dump("adder", "sums")
	f := counts("adder")
	f.Version, f.Tables = 2, f.Tables+";\nCREATE TABLE more (subject text COLLATE \"C\" PRIMARY KEY)"
	add := applyOf(f, full("adder.added"))
	reached, release := make(chan struct{}), make(chan struct{})
	held := false
	replaceApply(f, full("adder.added"), func(ctx context.Context, tx *Tx, e event.Event) error {
		if p, err := payloadOf(e); err != nil || p.N == 150 && !held {
			held = true
			close(reached)
			<-release
		}
		tx.Exec("INSERT INTO more VALUES ($1) ON CONFLICT (subject) DO NOTHING", e.Subject())
		return add(ctx, tx, e)
	})
	l := w.open(f)
	run(t, l)
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	<-reached
	require.NotNil(t, l.Renewing())
	n, doubled := sum(t, l, "0")
	require.Equal(t, []int{6633, 13266}, []int{n, doubled})
	_, err := l.Record(ctx, fact("adder.added", "late", 5))
	require.NoError(t, err)
	_, err = l.Verify(ctx, FromLog, nil)
	require.ErrorIs(t, err, ErrReplaying)
	let()
	settle(t, l)
	require.Nil(t, l.Renewing())
	n, doubled = sum(t, l, "late")
	require.Equal(t, []int{5, 10}, []int{n, doubled})
	var more int
	require.NoError(t, l.State().QueryRow(ctx, "SELECT count(*) FROM more").Scan(&more))
	require.Equal(t, 4, more)
	w.exec("DELETE FROM adder.sums WHERE subject = 'late'")
	require.Equal(t, between(before, "sums"), between(w.dump("adder", "sums"), "sums"))
	require.Equal(t, []string{"adder", "adder_io"}, w.schemas("adder"))
}

// between is the part of a dump that begins with a table.
func between(dump, table string) string { return dump[strings.LastIndex(dump, table+"\n"):] }

func TestAnEventThatANewVersionCannotApplyIsParkedByItsRebuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, stop := summed(t, w, 12)
	stop()
	f := counts("adder")
	f.Version = 2
	add := applyOf(f, full("adder.added"))
	replaceApply(f, full("adder.added"), func(ctx context.Context, tx *Tx, e event.Event) error {
		if p, _ := payloadOf(e); p.N == 7 {
			return fmt.Errorf("not seven")
		}
		return add(ctx, tx, e)
	})
	l := w.open(f)
	run(t, l)
	settle(t, l)
	parked, err := l.ParkedEvents(context.Background())
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.EqualValues(t, 8, parked[0].Sequence)
	log := w.wholeLog()
	require.Len(t, log, 25)
	require.Equal(t, full("adder.event_parked"), log[24].Type())
	report, err := l.Verify(context.Background(), FromLog, nil)
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report.Difference)
}

func TestALongPastIsFoldedIntoAShadowAtAFirstStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	other := w.start(NewFold("other", 1, ""))
	var facts []Fact
	for i := range source.ChunkEvents + 100 {
		facts = append(facts, fact("other.added", fmt.Sprint(i%7), 1))
	}
	_, err := other.Record(ctx, facts...)
	require.NoError(t, err)
	settle(t, other)
	l := w.start(counts("adder"))
	settle(t, l, other)
	n, _ := sum(t, l, "0")
	require.Equal(t, (len(facts)+6)/7, n)
	_, err = l.RecordAndWait(ctx, fact("adder.added", "0", 1))
	require.NoError(t, err)
	settle(t, l, other)
	report, err := l.Verify(ctx, FromLog, nil)
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report.Difference)
	require.EqualValues(t, 1, report.Decisions)
	require.Equal(t, w.dump("adder", "sums"), w.rebuild("adder", counts("adder"), "sums"))
}

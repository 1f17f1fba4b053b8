package chaos

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/stretchr/testify/require"
)

// said makes a message of the log.
func said(stream uint64, service string, sequence uint64, id, cause, name, data string) message {
	return message{stream: stream, service: service, sequence: sequence, data: fmt.Appendf(nil,
		`{"id":%q,"type":"io.freshet.%s.v1.%s","source":"/freshet/%s","sequence":"%020d","causationid":%q,"data":%s}`,
		id, service, name, service, sequence, cause, data)}
}

func arrival(stream, sequence uint64, id, origin string) message {
	return said(stream, "ingestion", sequence, id, "", "data_arrived", fmt.Sprintf(`{"origin":{"id":%q}}`, origin))
}

// soundLog is a log in which all is well: one arrival, checked and committed.
func soundLog() []message {
	return []message{
		arrival(1, 1, "a", "first"),
		said(2, "ingestion", 2, "b", "a", "data_checked", "{}"),
		said(3, "ingestion", 3, "c", "b", "data_committed", "{}"),
		said(4, "registry", 1, "d", "c", "noted", "{}"),
	}
}

func outboxOf(messages []message, service string) (rows []outboxRow) {
	for _, m := range messages {
		if m.service == service {
			rows = append(rows, outboxRow{m.sequence, m.data})
		}
	}
	return rows
}

func archiveOf(messages []message) (records []kafka.Record) {
	for i, m := range messages {
		records = append(records, kafka.Record{Offset: int64(i), Value: m.data,
			Headers: []kafka.Header{{Key: "natsseq", Value: strconv.AppendUint(nil, m.stream, 10)}}})
	}
	return records
}

// findings of a log, an outbox of ingestion, an archive and a ledger that was told
// that "first" was taken.
func findings(change func(log *[]message, outbox *[]outboxRow, archive *[]kafka.Record, l *Ledger), repeats bool) *Findings {
	log := soundLog()
	outbox, archive := outboxOf(log, "ingestion"), archiveOf(log)
	l := newLedger()
	l.arrivals["first"] = "http"
	if change != nil {
		change(&log, &outbox, &archive, l)
	}
	f, c := &Findings{}, newChecker()
	c.repeats = repeats
	c.log(log, f)
	compareOutbox("ingestion", 0, outbox, uint64(len(outbox)), log, f)
	c.archive(archive, f)
	c.ledger(l, f)
	return f
}

func TestTheCheckerFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	require.True(t, findings(nil, false).None())
	type world struct {
		log     *[]message
		outbox  *[]outboxRow
		archive *[]kafka.Record
		l       *Ledger
	}
	for name, c := range map[string]struct {
		change func(world)
		found  func(*Findings) []string
		says   string
	}{
		"an event is missing in the log": {func(w world) { *w.log = append((*w.log)[:1], (*w.log)[2:]...) },
			func(f *Findings) []string { return f.Lost }, "the log goes from 1 to 3"},
		"a source has a gap": {func(w world) { (*w.log)[2].sequence = 4 },
			func(f *Findings) []string { return f.Lost }, "ingestion goes from 2 to 4"},
		"an event is there twice": {func(w world) { *w.log = append(*w.log, arrival(5, 4, "a", "other")) },
			func(f *Findings) []string { return f.Doubled }, "is at 1 and at 5"},
		"an arrival was recorded twice": {func(w world) { *w.log = append(*w.log, arrival(5, 4, "z", "first")) },
			func(f *Findings) []string { return f.Doubled }, "was recorded as a and as z"},
		"an arrival was committed twice": {func(w world) { *w.log = append(*w.log, said(5, "ingestion", 4, "z", "b", "data_committed", "{}")) },
			func(f *Findings) []string { return f.Doubled }, "ended as data_committed and as data_committed"},
		"an effect before its cause": {func(w world) { *w.log = append(*w.log, said(5, "registry", 2, "z", "y", "noted", "{}")) },
			func(f *Findings) []string { return f.Reordered }, "before its cause"},
		"an event was parked": {func(w world) { *w.log = append(*w.log, said(5, "registry", 2, "z", "c", "event_parked", "{}")) },
			func(f *Findings) []string { return f.Diverged }, "was parked"},
		"an event was recorded and not published": {func(w world) { *w.outbox = append(*w.outbox, outboxRow{4, []byte("{}")}) },
			func(f *Findings) []string { return f.Lost }, "in its outbox and not in the log"},
		"an event was published and not recorded": {func(w world) { *w.outbox = (*w.outbox)[:2] },
			func(f *Findings) []string { return f.Lost }, "in the log and not in its outbox"},
		"an outbox with other bytes": {func(w world) { (*w.outbox)[1].event = []byte("{}") },
			func(f *Findings) []string { return f.Diverged }, "is in the log as"},
		"an archive that lacks an event": {func(w world) { *w.archive = (*w.archive)[:3] },
			func(f *Findings) []string { return f.Lost }, "the archive lacks 4"},
		"an archive that repeats an event": {func(w world) { *w.archive = append(*w.archive, (*w.archive)[3]) },
			func(f *Findings) []string { return f.Doubled }, "has 4 of the log again"},
		"an archive in another order": {func(w world) { a := *w.archive; a[1], a[2] = a[2], a[1] },
			func(f *Findings) []string { return f.Reordered }, "goes from 1 to 3"},
		"an archive with other bytes": {func(w world) { (*w.archive)[2].Value = []byte("{}") },
			func(f *Findings) []string { return f.Diverged }, "with other bytes"},
		"an acknowledged arrival is missing": {func(w world) { w.l.arrivals["second"] = "kafka" },
			func(f *Findings) []string { return f.Lost }, "second was acknowledged by kafka"},
		"an acknowledged approval is missing": {func(w world) { w.l.approvals["z"] = "version 1 for production" },
			func(f *Findings) []string { return f.Lost }, "version 1 for production was acknowledged as z"},
		"an arrival without an end": {func(w world) { (*w.log)[2] = said(3, "ingestion", 3, "c", "b", "noted", "{}") },
			func(f *Findings) []string { return f.Lost }, "neither committed nor rejected"},
		"good data was rejected": {func(w world) { (*w.log)[2] = said(3, "ingestion", 3, "c", "b", "data_rejected", "{}") },
			func(f *Findings) []string { return f.Lost }, "nothing wrong with it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := findings(func(log *[]message, outbox *[]outboxRow, archive *[]kafka.Record, l *Ledger) {
				c.change(world{log, outbox, archive, l})
			}, false)
			require.False(t, f.None())
			require.Contains(t, fmt.Sprint(c.found(f)), c.says)
		})
	}
}

func TestRepeatsInTheArchiveAreTakenWhereTheyMayBe(t *testing.T) {
	t.Parallel()
	again := func(_ *[]message, _ *[]outboxRow, archive *[]kafka.Record, _ *Ledger) {
		*archive = append(*archive, (*archive)[2], (*archive)[3])
	}
	require.True(t, findings(again, true).None())
	other := func(log *[]message, outbox *[]outboxRow, archive *[]kafka.Record, l *Ledger) {
		again(log, outbox, archive, l)
		(*archive)[4].Value = []byte("{}")
	}
	require.Len(t, findings(other, true).Doubled, 1)
}

func TestTheCheckerFindsRowsThatWereLost(t *testing.T) {
	t.Parallel()
	l, f := newLedger(), &Findings{}
	l.pushes["a-0"], l.pushes["b-0"] = true, true
	pushes([]kafka.Record{{Value: []byte(`{"trip":["a-0","a-1"]}`)}}, l, f)
	require.Len(t, f.Lost, 1)
	require.Contains(t, f.Lost[0], "the rows from b-0 on were acknowledged")
}

func TestTheCheckerFindsAnswersThatWereNotCountedOnce(t *testing.T) {
	t.Parallel()
	answer := func(id string) kafka.Record {
		return kafka.Record{Key: []byte("default/m"), Headers: []kafka.Header{{Key: "ce_id", Value: []byte(id)}}}
	}
	for n, found := range map[count]func(*Findings) []string{
		{next: 3, counted: 2}:             nil,
		{next: 3, counted: 1}:             func(f *Findings) []string { return f.Lost },
		{next: 3, counted: 3}:             func(f *Findings) []string { return f.Doubled },
		{next: 2, counted: 2}:             func(f *Findings) []string { return f.Diverged },
		{next: 3, counted: 2, refused: 1}: func(f *Findings) []string { return f.Diverged },
	} {
		c, f := newChecker(), &Findings{}
		c.answered = 3
		c.inference([]kafka.Record{answer("1"), answer("2"), answer("2")}, n, f)
		if found == nil {
			require.True(t, f.None(), f)
		} else {
			require.Len(t, found(f), 1, n)
		}
	}
}

func TestAPlanFollowsFromSeedAndRound(t *testing.T) {
	t.Parallel()
	everything := func(kind) bool { return true }
	services, err := ReadServices("../services/services.yaml")
	require.NoError(t, err)
	c := Config{Options: Options{Services: services}, Seed: 7, Span: 3 * time.Second, Outage: time.Second}
	aiming, other := c, c
	aiming.Kafka, other.Seed = Apache, 8
	had := map[kind]bool{}
	deck := len(kinds(everything))
	for round := range deck {
		one := c.plan(round, everything)
		require.Equal(t, one, c.plan(round, everything))
		for _, f := range one {
			had[f.kind] = true
			require.Contains(t, targets(f.kind, c.Services), f.target)
			require.Less(t, f.at+f.lasts, 5*time.Second)
		}
	}
	require.Len(t, had, deck, "every kind has its turn")
	aimed := 0
	for round := range 10 * deck {
		one := aiming.plan(round, everything)
		was := c.plan(round, everything)
		for i, f := range one {
			if f.target == "kafka" {
				aimed++
			} else {
				require.Equal(t, was[i], f)
			}
		}
	}
	require.Greater(t, aimed, 3*deck)
	require.NotEqual(t, c.plan(1, everything), other.plan(1, everything))
	for _, f := range c.plan(3, func(k kind) bool { return k == stop }) {
		require.Equal(t, stop, f.kind)
	}
}

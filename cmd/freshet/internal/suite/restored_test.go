package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func TestALogThatWasLostWholeComesBackFromTheArchive(t *testing.T) {
	t.Parallel()
	h := newFaulty(t)
	h.record(25)
	h.settled()
	before := h.whole()
	h.stop()
	require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats")))
	h.start()
	require.Equal(t, "FRESHET_2", h.stream())
	h.right(before)
}

// An epoch in which nothing was recorded yet has its number all the same.
func TestAnEpochsNumberIsNotUsedTwice(t *testing.T) {
	t.Parallel()
	h := newFaulty(t)
	h.record(10)
	h.settled()
	h.nats(func() { h.copy("nats", "nats.old") })
	h.record(5)
	h.settled()
	before := h.whole()
	h.nats(func() {
		require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats")))
		h.copy("nats.old", "nats")
	})
	h.settled()
	require.Equal(t, "FRESHET_2", h.stream())
	h.nats(func() { require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats", "jetstream"))) })
	h.settled()
	require.Equal(t, "FRESHET_3", h.stream())
	h.right(before)
}

// What was applied while Kafka was unavailable is in no archive: its order is known to those
// who applied it, its bytes to those who recorded it.
func TestWhatWasAppliedBeyondTheArchiveKeepsItsPlace(t *testing.T) {
	t.Parallel()
	h := newFaulty(t)
	h.record(10)
	h.settled()
	h.nats(func() { h.copy("nats", "nats.old") })
	h.settled()
	back := h.stopKafka()
	h.record(25)
	h.applied()
	want := h.messages()
	h.nats(func() {
		require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats")))
		h.copy("nats.old", "nats")
	})
	back()
	h.settled()
	require.Equal(t, "FRESHET_2", h.stream())
	after := h.whole()
	for i, data := range want {
		require.Equal(t, data, string(after[i]), "event %d is another one", i+1)
	}
	h.right(after)
}

func TestAPostgresFromYesterdayLearnsWhatTheLogKnows(t *testing.T) {
	t.Parallel()
	for name, schemas := range map[string][]string{
		"one service's":      {"training", "training_io"},
		"all services'":      nil,
		"an outbox' alone":   {"training_io"},
		"the log's as well":  {"training", "training_io"},
		"audit's own memory": {"audit", "audit_io", "audit_data"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFaulty(t)
			h.record(15)
			h.settled()
			restore := h.dumped(schemas)
			h.record(15)
			h.settled()
			before := h.whole()
			h.stop()
			if name == "the log's as well" {
				require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats")))
			}
			restore()
			h.start()
			h.right(before)
		})
	}
}

// Nothing has to happen for a service to notice that its database was rolled back.
func TestADatabaseThatGoesBackUnderALivingServiceIsNoticed(t *testing.T) {
	t.Parallel()
	h := newFaulty(t)
	h.record(15)
	h.settled()
	schemas := []string{"training", "training_io"}
	dump := h.dumpOf(schemas)
	h.record(15)
	h.settled()
	before, live := h.whole(), h.dump()
	h.load(h.suite.infra.postgres.URL(), schemas, dump)
	require.Equal(t, live, h.dump())
	h.right(before)
}

// RequireStoresSetBack sets back the stores of a suite that somebody runs in a directory for
// some days by its own clock, and then once more when they are over.
func RequireStoresSetBack(t *testing.T, run func(dir string, days int, meanwhile func(at time.Time, s *Suite) error) error) {
	t.Helper()
	h := faultyOf(t, faultyDir(t), Names())
	const days = 7
	var began, now time.Time
	var before [][]byte
	var restore func()
	enough := errors.New("the days are over")
	at := map[time.Duration]func(){ // since the first step
		60 * time.Hour: func() {
			h.nats(func() { h.copy("nats", "nats.old") })
			restore = h.dumped([]string{"registry", "registry_io"})
		},
		100 * time.Hour: func() {
			before = h.whole()
			h.nats(func() {
				require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats")))
				h.copy("nats.old", "nats")
			})
		},
		130 * time.Hour: func() {
			require.Equal(t, "FRESHET_2", h.stream())
			after := h.whole()
			require.Equal(t, before, after[:len(before)])
			require.Greater(t, len(after), len(before), "the suite went on")
			before = after
			h.nats(func() { require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats", "jetstream"))) })
		},
		days*24*time.Hour - time.Hour: func() {
			require.Equal(t, "FRESHET_3", h.stream())
			after := h.whole()
			require.Equal(t, before, after[:len(before)])
			require.Greater(t, len(after), len(before), "the suite went on")
			before = after
			h.verified()
		},
	}
	err := run(h.dir, days, func(step time.Time, s *Suite) error {
		if began.IsZero() {
			began = step
		}
		h.suite, now = s, step
		if inject := at[step.Sub(began)]; inject != nil {
			delete(at, step.Sub(began))
			inject()
		}
		if len(at) == 0 {
			return enough
		}
		return nil
	})
	require.ErrorIs(t, err, enough)

	h.clock = clock.NewDriven(now)
	restore()
	h.start()
	h.settled()
	require.Equal(t, before, h.whole()[:len(before)])
	h.verified()
	h.record(5)
	h.settled()
	h.whole()
	h.verified()
}

// An archive that was rolled back is filled again: from the log, and where the log begins
// later, from what services and audit's index know.
func TestAnArchiveThatWasRolledBackIsFilledAgain(t *testing.T) {
	t.Parallel()
	for name, trimmed := range map[string]bool{"the log has it": false, "the log was trimmed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFaulty(t)
			h.record(10)
			h.settled()
			h.stop()
			h.copy("kafka", "kafka.old")
			h.start()
			h.record(15)
			h.settled()
			before := h.whole()
			if trimmed {
				js, err := jetstream.New(h.suite.infra.admin)
				require.NoError(t, err)
				s, err := js.Stream(context.Background(), h.stream())
				require.NoError(t, err)
				require.NoError(t, s.Purge(context.Background(), jetstream.WithPurgeSequence(uint64(len(before)-5))))
			}
			h.stop()
			require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "kafka")))
			h.copy("kafka.old", "kafka")
			h.start()
			require.Equal(t, "FRESHET_1", h.stream(), "the log itself is whole")
			h.right(before)
		})
	}
}

// Where an event is in no place any more, nobody continues, and the alarm says which.
func TestWhatIsGoneIsToldAndNobodyGoesOn(t *testing.T) {
	t.Parallel()
	h := newFaulty(t)
	h.record(10)
	h.settled()
	h.nats(func() { h.copy("nats", "nats.old") })
	h.settled()
	back := h.stopKafka()
	h.record(5)
	h.applied()
	h.sql("DELETE FROM training_io.outbox WHERE sequence > 12")
	end := h.suite.Status(context.Background()).End
	h.nats(func() {
		require.NoError(t, os.RemoveAll(filepath.Join(h.dir, "nats")))
		h.copy("nats.old", "nats")
	})
	back()
	var told string
	require.Eventually(t, func() bool {
		err := h.log("console").Status(context.Background()).Err
		if err != nil {
			told = err.Error()
		}
		return errors.Is(err, eventlog.ErrAlarm) && strings.Contains(told, "event 13 of /freshet/training")
	}, waitLimit, poll, "%s", &told)
	for _, s := range h.suite.services {
		require.EqualValues(t, end, s.Log().Status(context.Background()).Position, s.Name())
	}
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(t, err)
	name, err := attest.Current(context.Background(), js)
	require.NoError(t, err)
	require.Equal(t, "FRESHET_1", name, "no epoch is opened")
	// Another start says the same, and does not come up.
	_ = h.suite.Stop(context.Background())
	h.suite = nil
	err = h.tryStart()
	require.ErrorContains(t, err, "no outbox has the events")
	require.ErrorContains(t, err, "event 13 of /freshet/training")
}

// The log gives up what the archive has; whoever needs it again reads that.
func TestTheLogIsTrimmed(t *testing.T) {
	t.Setenv("FRESHET_AUDIT_KEEP_EVENTS", "20")
	h := newFaulty(t)
	h.record(40)
	h.settled()
	before := h.whole()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		s, err := js.Stream(context.Background(), h.stream())
		return err == nil && s.CachedInfo().State.FirstSeq == uint64(len(before)-20+1)
	}, waitLimit, poll)
	code, body := asked(t, http.MethodGet, h.suite.URL()+"/v1/events?limit=1")
	require.Equal(t, http.StatusOK, code)
	var list struct{ Items []struct{ ID string } }
	require.NoError(t, json.Unmarshal(body, &list))
	code, body = asked(t, http.MethodGet, h.suite.URL()+"/v1/events/"+list.Items[0].ID)
	require.Equal(t, http.StatusOK, code, "%s", body)
	require.Equal(t, string(before[0]), string(body), "the log has it no more")
	code, body = asked(t, http.MethodGet, fmt.Sprintf("%s/v1/events/replay?from=3&to=%d", h.suite.URL(), len(before)-10))
	require.Equal(t, http.StatusOK, code, "%s", body)
	require.Equal(t, string(bytes.Join(before[2:len(before)-10], []byte("\n")))+"\n", string(body), "from the archive into the stream")
	h.right(before)

	// A service that will not come back is not waited for.
	code, _ = asked(t, http.MethodDelete, h.suite.URL()+"/v1/log/services/training")
	require.Equal(t, http.StatusNoContent, code)
	code, _ = asked(t, http.MethodDelete, h.suite.URL()+"/v1/log/services/nobody")
	require.Equal(t, http.StatusNotFound, code)
}

func asked(t *testing.T, method, url string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // only read from
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, b
}

package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// flip changes one byte of the archive's file, at a random place.
func (h *faultySuite) flip(r *rand.Rand, from, to float64) {
	h.t.Helper()
	path := filepath.Join(h.dir, "kafka", "partitions", archive.Topic+"-0", "0.dat")
	b, err := os.ReadFile(path)
	require.NoError(h.t, err)
	at, by := int(float64(len(b))*(from+r.Float64()*(to-from))), byte(1+r.IntN(255))
	h.t.Logf("byte %d of %d, by %x", at, len(b), by)
	b[at] ^= by
	require.NoError(h.t, os.WriteFile(path, b, 0o600))
}

// trim takes from the log what is not of its last events, as its guardian does.
func (h *faultySuite) trim(keep uint64) {
	h.t.Helper()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(h.t, err)
	s, err := js.Stream(context.Background(), h.stream())
	require.NoError(h.t, err)
	require.NoError(h.t, s.Purge(context.Background(), jetstream.WithPurgeSequence(s.CachedInfo().State.LastSeq-keep+1)))
}

// An archive's file that is damaged is cut there and filled again: from the log, and
// where the log begins later, from what services and audit's index know. As long as it
// cannot be read, nobody says that all is well.
func TestADamagedArchiveIsFilledAgain(t *testing.T) {
	t.Parallel()
	for name, trimmed := range map[string]bool{"the log has it": false, "the log was trimmed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFaulty(t)
			r := rand.New(rand.NewPCG(11, uint64(len(name))))
			for round := range 3 {
				h.record(10)
				h.settled()
				before := h.whole()
				if trimmed {
					h.trim(5)
				}
				h.stop()
				h.flip(r, 0, 1)
				h.start()
				client := kafka.New(h.suite.infra.KafkaAddr())
				require.Eventually(t, func() bool {
					if code, _ := asked(t, http.MethodGet, h.suite.URL()+"/readyz"); code != http.StatusOK {
						return false
					}
					_, err := archive.New(client).Tail(context.Background())
					require.NoError(t, err, "it was said to be ready")
					return h.suite.Status(context.Background()).Settled
				}, waitLimit, poll)
				client.Close()
				require.Equal(t, before, h.whole()[:len(before)], "round %d", round)
				if round == 2 {
					h.verified()
					h.right(before)
				}
			}
		})
	}
}

// Where nobody has any more what the damaged archive had, the start is refused with the
// exact place.
func TestADamagedArchiveThatNobodyCanFillIsTold(t *testing.T) {
	t.Parallel()
	h := newFaulty(t)
	h.record(10)
	h.settled()
	h.trim(5)
	h.sql("DELETE FROM training_io.outbox WHERE sequence > 4")
	before := h.whole()
	h.stop()
	h.flip(rand.New(rand.NewPCG(1, 1)), 0.05, 0.1)
	err := h.tryStart()
	require.ErrorContains(t, err, "no outbox has the events")
	require.ErrorContains(t, err, "event 5 of /freshet/training")
	require.ErrorContains(t, err, fmt.Sprintf("and the log begins at %d", len(before)-4))
}

// Without Kafka nothing is archived: audit is not ready, and everything else continues.
func TestWithoutItsArchiveAuditIsNotReady(t *testing.T) {
	t.Parallel()
	h := newFaulty(t)
	h.record(5)
	h.settled()
	ready := func() (int, string) {
		code, body := asked(t, http.MethodGet, h.suite.URL()+"/readyz")
		return code, string(body)
	}
	back := h.stopKafka()
	h.record(5)
	h.applied()
	require.Eventually(t, func() bool {
		code, body := ready()
		return code == http.StatusServiceUnavailable && strings.Contains(body, `"archive":`) && strings.Contains(body, `"merkle":`)
	}, waitLimit, poll)
	back()
	require.Eventually(t, func() bool {
		code, _ := ready()
		return code == http.StatusOK
	}, waitLimit, poll)
	h.settled()
	h.whole()
}

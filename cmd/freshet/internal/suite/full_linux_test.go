package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/libs/testkit/disk"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// alarmWithin is promised from the moment that a disk is full.
const alarmWithin = 10 * time.Second

// TestPromise10BoundedDiskFullDamage fills the disk of each server and of the
// objects in turn, under a suite that continues. There is an alarm in time, the damage
// is done, and when there is room again nobody but the suite does anything.
func TestPromise10BoundedDiskFullDamage(t *testing.T) {
	t.Parallel()
	if !testkit.OwnMounts(t) {
		return
	}
	dir := faultyDir(t)
	require.NoError(t, os.Chmod(dir, 0o755)) // PostgreSQL's user enters it
	disks := map[string]*disk.Disk{}
	for _, name := range []string{"nats", "postgres", "kafka", "objects"} {
		disks[name] = testkit.Disk(t, filepath.Join(dir, name))
	}
	h := newFaultyIn(t, dir, "audit", "ingestion", "training", "console")
	h.record(20)
	file := strings.Repeat("a row of a file\n", 64<<10)
	code, kept := h.upload(file)
	require.Equal(t, http.StatusCreated, code)
	h.settled()

	for _, full := range []struct {
		disk   string
		damage func()
	}{
		{"nats", func() {
			// Facts are recorded all the same, until the log's store has latched.
			require.Eventually(t, func() bool {
				h.record(1)
				err := h.suite.infra.nats.Healthy()
				return err != nil && strings.Contains(err.Error(), "no space left on device")
			}, waitLimit, poll)
			h.alarm("no space left on device")
			h.record(10)
		}},
		{"postgres", func() {
			require.Eventually(t, func() bool { return h.tryRecord(time.Second) != nil }, waitLimit, poll)
			// A new piece of its own log finds no room either, and PostgreSQL ends.
			first := h.suite.infra.postgres.PID()
			require.Eventually(t, func() bool {
				h.newWAL()
				return h.suite.infra.postgres.PID() != first
			}, waitLimit, poll)
		}},
		{"kafka", func() { h.record(50) }},
		{"objects", func() {
			code, _ := h.upload(file + "one more")
			require.GreaterOrEqual(t, code, http.StatusInternalServerError)
		}},
	} {
		before := h.whole()
		began := time.Now()
		require.NoError(t, disks[full.disk].Fill())
		h.alarm(filepath.Join(dir, full.disk) + " has ")
		alarmed := time.Since(began)
		full.damage()
		h.alarm(filepath.Join(dir, full.disk) + " has ")

		began = time.Now()
		require.NoError(t, disks[full.disk].Free())
		var last []byte // a pointer to it is printed as it is then
		require.Eventually(t, func() bool {
			var code int
			code, last = h.readyz()
			return code == http.StatusOK
		}, waitLimit, poll, "after %s was full: %s", full.disk, &last)
		t.Logf("%s: an alarm after %s; ready %s after there was room", full.disk, alarmed, time.Since(began))
		h.record(1)
		h.settled()
		after := h.whole()
		for i := range before {
			require.Equal(t, string(before[i]), string(after[i]), "event %d is another one after %s was full", i+1, full.disk)
		}
	}
	store, err := h.suite.Objects(t.Context())
	require.NoError(t, err)
	defer store.Close() //nolint:errcheck // only read from
	b, err := store.Get(t.Context(), "sha256:"+kept, int64(len(file)))
	require.NoError(t, err)
	require.True(t, string(b) == file, "the file that was kept is another one")
	code, _ = h.upload(file + "one more")
	require.Equal(t, http.StatusCreated, code)
	h.right(h.whole())
	require.Equal(t, Stream, h.stream(), "the log was never lost")
}

func (h *faultySuite) readyz() (int, []byte) {
	h.t.Helper()
	return asked(h.t, http.MethodGet, h.suite.URL()+"/readyz")
}

// alarm waits for a finding of the suite's, as long as is promised.
func (h *faultySuite) alarm(finding string) {
	h.t.Helper()
	var last []byte
	require.Eventually(h.t, func() bool {
		var code int
		code, last = h.readyz()
		return code == http.StatusServiceUnavailable && bytes.Contains(last, []byte(finding))
	}, alarmWithin, poll, "no finding says %q: %s", finding, &last)
}

func (h *faultySuite) upload(file string) (code int, digest string) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPut, h.suite.URL()+"/v1/files", bytes.NewReader([]byte(file)))
	require.NoError(h.t, err)
	res, err := http.DefaultClient.Do(r)
	require.NoError(h.t, err)
	defer res.Body.Close() //nolint:errcheck // only read from
	var answer struct{ Digest string }
	require.NoError(h.t, json.NewDecoder(res.Body).Decode(&answer))
	return res.StatusCode, strings.TrimPrefix(answer.Digest, "sha256:")
}

// newWAL makes PostgreSQL begin a new piece of its log, if it answers.
func (h *faultySuite) newWAL() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, h.suite.infra.postgres.URL())
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // of a test
	_, _ = conn.Exec(ctx, "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000)), pg_switch_wal()")
}

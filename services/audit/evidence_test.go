package audit_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/stretchr/testify/require"
)

func (b *bundle) post(path string) int {
	b.t.Helper()
	r, err := http.Post(b.URL+path, "application/json", nil)
	require.NoError(b.t, err)
	defer r.Body.Close()
	return r.StatusCode
}

func (b *bundle) publicKey() string {
	b.t.Helper()
	status, _, key := b.get("/v1/checkpoints/key")
	require.Equal(b.t, 200, status)
	return strings.TrimSpace(string(key))
}

func TestEveryEventIsProven(t *testing.T) {
	t.Parallel()
	b := setup(t)
	status, _, _ := b.get("/v1/checkpoints/newest")
	require.Equal(t, 404, status)
	b.scenario()
	b.Settle(t.Context())
	key := b.publicKey()
	for i, raw := range b.raw() { // the first asks for a checkpoint, and it becomes an event itself
		e := b.Events()[i]
		status, _, body := b.get("/v1/events/" + e.ID() + "/proof")
		require.Equal(t, 200, status, string(body))
		p, err := transparency.ParseProof(body)
		require.NoError(t, err)
		require.EqualValues(t, i, p.Index)
		require.Equal(t, string(raw), string(p.Record))
		_, _, err = p.Check(raw, key)
		require.NoError(t, err)
	}
	b.Settle(t.Context())
	signed := b.AwaitType(events.TypeCheckpointSigned, 1)
	require.Len(t, b.Events(), int(eventlog.Sequence(signed))+countOthers(b), "one checkpoint for all of them")
	status, _, note := b.get("/v1/checkpoints/newest")
	require.Equal(t, 200, status)
	c, _, err := transparency.OpenCheckpoint(string(note), key)
	require.NoError(t, err)
	require.EqualValues(t, len(b.Events())-1, c.Size)
	require.Equal(t, 200, b.post("/v1/checkpoints"))
	b.Settle(t.Context())
	require.Len(t, b.Events(), int(c.Size)+1, "a checkpoint's own event is nothing new")
	status, _, body := b.get("/v1/checkpoints")
	require.Equal(t, 200, status)
	require.Contains(t, string(body), `"size"`)
	status, _, _ = b.get("/v1/checkpoints/growth?from=1&to=3")
	require.Equal(t, 200, status)
	for _, bad := range []string{"/v1/checkpoints?limit=0", "/v1/checkpoints/growth?from=3&to=1", "/v1/checkpoints/growth?from=x&to=1",
		"/v1/evidence/flight-delays?version=0"} {
		status, _, _ := b.get(bad)
		require.Equal(t, 400, status, bad)
	}
	status, _, _ = b.get("/v1/events/nothing/proof")
	require.Equal(t, 404, status)
}

// countOthers are the events of other services.
func countOthers(b *bundle) (n int) {
	for _, e := range b.Events() {
		if e.Source() != "/freshet/audit" {
			n++
		}
	}
	return n
}

// A version's pack has what its explanation names, and every cause of what it has.
func TestAPackHasWhatWhyNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := recorded(t, b)
	kinds := map[string]string{}
	for _, e := range log {
		kinds[e.ID()] = e.Type()
	}
	for _, version := range []string{"7", "3"} {
		status, _, body := b.get("/v1/evidence/flight-delays?version=" + version)
		require.Equal(t, 200, status, string(body))
		files, err := transparency.ReadTar(bytes.NewReader(body))
		require.NoError(t, err)
		p, _, _, err := transparency.OpenPack(files, b.publicKey())
		require.NoError(t, err)
		there := map[string]bool{}
		for _, r := range p.Records {
			e, err := events.Codec{}.Decode(r.Data)
			require.NoError(t, err)
			if cause := eventlog.Causation(e); cause != "" {
				require.True(t, there[cause], "the cause of %s is not there before it", e.Type())
			}
			there[e.ID()] = true
		}
		for _, n := range b.graph("/v1/why/flight-delays@" + version).Nodes {
			require.True(t, there[n.ID], "v%s: %s", version, n.Text)
		}
		require.Less(t, len(p.Records), len(log), "and not the whole log")
	}
}

func TestThePackOfAModel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.scenario()
	// A ripple of another model does not belong to it.
	e, err := events.NewTrainingAsked(namespace, "another", events.TrainingAsked{Model: "another"})
	require.NoError(t, err)
	stranger := b.Foreign(eventlog.Cause{}, e)[0]
	b.Settle(t.Context())
	key := b.publicKey()
	for _, query := range []string{"", "?version=1"} {
		status, header, body := b.get("/v1/evidence/flight-delays" + query)
		require.Equal(t, 200, status, string(body))
		require.Equal(t, "application/x-tar", header.Get("Content-Type"))
		files := map[string][]byte{}
		for r := tar.NewReader(bytes.NewReader(body)); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			files[h.Name], err = io.ReadAll(r)
			require.NoError(t, err)
		}
		p, _, _, err := transparency.OpenPack(files, key)
		require.NoError(t, err)
		require.Contains(t, p.About, "model flight-delays")
		there := map[string]bool{}
		for _, r := range p.Records {
			e, err := events.Codec{}.Decode(r.Data)
			require.NoError(t, err)
			there[e.ID()] = true
			require.NotEqual(t, stranger.ID(), e.ID())
		}
		for _, e := range b.Events() { // but for the stranger's and audit's own, all belong to the history
			if e.Source() != "/freshet/audit" && e.ID() != stranger.ID() {
				require.True(t, there[e.ID()], "%s %s", query, e.Type())
			}
		}
	}
	for _, missing := range []string{"/v1/evidence/nothing", "/v1/evidence/flight-delays?version=9", "/v1/evidence/flight-delays?namespace=other"} {
		status, _, _ := b.get(missing)
		require.Equal(t, 404, status, missing)
	}
}

func TestACheckpointComesByItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.scenario()
	b.Settle(t.Context())
	require.Len(t, b.Events(), countOthers(b))
	b.Clock.Set(b.Clock.Now().Add(time.Hour))
	b.AwaitType(events.TypeCheckpointSigned, 1)
	b.Settle(t.Context())
	size := len(b.Events())
	b.Clock.Set(b.Clock.Now().Add(48 * time.Hour))
	require.Equal(t, 200, b.post("/v1/checkpoints"))
	b.Settle(t.Context())
	require.Len(t, b.Events(), size)
}

// An archive that was altered proves nothing, also not what was proven before.
func TestNothingIsProvenOfAnAlteredArchive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.scenario()
	b.Settle(t.Context())
	event := "/v1/events/" + b.Events()[0].ID() + "/proof"
	asked := []string{event, "/v1/evidence/flight-delays", "/v1/checkpoints/growth?from=1&to=3"}
	for _, path := range asked {
		status, _, body := b.get(path)
		require.Equal(t, 200, status, string(body))
	}
	require.NoError(t, b.Kafka.Produce(t.Context(), archive.Topic, kafka.Record{Value: []byte("{}")})) // no copy of a message
	require.Eventually(t, func() bool { status, _, _ := b.get(event); return status == 409 }, time.Minute, 5*time.Millisecond)
	for _, path := range asked {
		status, _, body := b.get(path)
		require.Equal(t, 409, status, string(body))
		require.Contains(t, string(body), "restore the topic")
	}
}

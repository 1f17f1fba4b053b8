package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// A message of the log that is no event, published by whoever has a service's NATS user,
// is parked by those who consume it; everything else continues, also after a restart.
func TestAMessageThatIsNoEventStopsNobody(t *testing.T) {
	for name, message := range map[string]func(other []byte) []byte{
		"nothing":         func([]byte) []byte { return nil },
		"no JSON":         func([]byte) []byte { return []byte("two\nlines") },
		"no subject":      func([]byte) []byte { return []byte(`{"junk":true}`) },
		"binary":          func([]byte) []byte { return []byte{0, 255, 254, 10, 13} },
		"3 MB":            func([]byte) []byte { return bytes.Repeat([]byte("x"), 3<<20) },
		"another's event": func(other []byte) []byte { return other },
		"of an unknown type": func(other []byte) []byte {
			return bytes.Replace(other, []byte("data_arrived"), []byte("unheard_of"), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			s.mustStart()
			s.record(1)
			s.settled()
			other, _, _ := bytes.Cut(s.get("/v1/events/replay"), []byte("\n"))
			for service, subject := range map[string]string{
				"console": "console.v1.approval_given", "training": "training.v1.run_completed", "registry": "registry.v1.unheard_of",
				"ingestion": "ingestion.v1.data_committed",
			} {
				nc := s.nats(service)
				require.NoError(t, nc.Publish("freshet.default."+subject, message(other)))
				require.NoError(t, nc.Flush())
			}
			s.sound()
			s.stop()
			s.mustStart()
			s.sound()

			var parked struct {
				Items []struct{ ID, Service string }
			}
			out, code := s.run("events", "parked", "-o", "json")
			require.Zero(t, code, out)
			require.NoError(t, json.Unmarshal([]byte(out), &parked), out)
			require.NotEmpty(t, parked.Items)
			for i, how := range []string{"retry", "discard"} {
				one := parked.Items[i%len(parked.Items)]
				out, code = s.run("events", how, one.Service, one.ID)
				require.Zero(t, code, out)
			}
			s.sound()
		})
	}
}

// archived waits until Kafka has the whole log: a checkpoint is signed over all of it.
func (s *suite) archived() {
	s.t.Helper()
	s.settled()
	code, b := s.ask(http.MethodPost, "/v1/checkpoints", "", "")
	require.Equal(s.t, 2, code/100, "%s", b)
	s.settled()
}

// change changes the files of a pattern below the data directory, and returns how many.
func (s *suite) change(pattern string, by func([]byte) []byte) int {
	s.t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.dir, pattern))
	require.NoError(s.t, err)
	changed := 0
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(s.t, err)
		if after := by(bytes.Clone(b)); !bytes.Equal(after, b) {
			require.NoError(s.t, os.WriteFile(path, after, 0o600))
			changed++
		}
	}
	return changed
}

const (
	blocks   = "nats/jetstream/*/streams/FRESHET_1/msgs/*.blk"
	archives = "kafka/partitions/freshet.events-0/*.dat"
)

// flip changes one bit in an event that names the dataset.
func flip(dataset string) func([]byte) []byte {
	return func(b []byte) []byte {
		if at := bytes.Index(b, []byte(`"subject":"`+dataset)); at > 0 {
			b[at+len(`"subject":"da`)] ^= 1
		}
		return b
	}
}

func TestADamagedStoreIsReadFromTheArchive(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"a flipped bit": flip("dataset-3"),
		"a torn block":  func(b []byte) []byte { return b[:len(b)-100] },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			s.mustStart()
			s.record(6)
			s.archived()
			before := s.get("/v1/events/replay")
			s.stop()
			require.Equal(t, 1, s.change(blocks, damage))
			s.mustStart()
			s.sound()
			require.Equal(t, string(before), string(s.get("/v1/events/replay")[:len(before)]))
		})
	}
}

// Where both copies of an event are damaged, it is never skipped: the sequence is named.
func TestAnEventThatIsDamagedTwiceIsNamed(t *testing.T) {
	s := newSuite(t)
	s.mustStart()
	s.record(6)
	s.archived()
	before, _, found := strings.Cut(string(s.get("/v1/events/replay")), `"subject":"dataset-3"`)
	require.True(t, found)
	named := fmt.Sprintf(`(event|sequence) %d\b`, 1+strings.Count(before, "\n")) // a line is an event, from the first on
	s.stop()
	require.Equal(t, 1, s.change(blocks, flip("dataset-3")))
	require.Equal(t, 1, s.change(archives, flip("dataset-3")))
	if err := s.start(); err != nil {
		require.Regexp(t, `cannot be attested.*`+named, err.Error())
		return
	}
	out, code := s.run("replay", "verify")
	require.NotZero(t, code, out)
	require.Regexp(t, named, out)
}

// Two arrivals of outside producers with one Nats-Msg-Id are both recorded, also on a data
// directory that an older binary made.
func TestAMessageIDRemovesNoArrival(t *testing.T) {
	for name, older := range map[string]string{"a new data directory": "", "an older data directory": os.Getenv("FRESHET_OLDER_BIN")} {
		t.Run(name, func(t *testing.T) {
			s := newSuite(t)
			if newer := s.bin; name != "a new data directory" {
				if older == "" {
					t.Skip("FRESHET_OLDER_BIN names no older binary")
				}
				s.bin = older
				s.mustStart()
				s.record(1)
				s.settled()
				s.stop()
				s.bin = newer
			}
			s.mustStart()
			uri := s.upload()
			js, err := s.nats("producer").JetStream()
			require.NoError(t, err)
			for _, n := range []int{101, 102} {
				_, err := js.Publish("freshet-in.default.x", []byte(arrival(n, uri)), nats.MsgId("one"))
				require.NoError(t, err)
			}
			s.sound()
			log := string(s.get("/v1/events/replay"))
			for _, dataset := range []string{"dataset-101", "dataset-102"} {
				require.Contains(t, log, `"subject":"`+dataset+`"`)
			}
		})
	}
}

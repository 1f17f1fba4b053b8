package kafkaserver_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	kgo "github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

const (
	copied = "copied" // its records come again
	only   = "only"   // is where its records are
	most   = 9        // records of a batch
)

// A stopped broker, and what it had stored.
type stopped struct {
	dir  string
	want map[string][]string
}

// fill stores batches of several records. A broker that is killed leaves its files as
// they were at that instant.
func fill(t *testing.T, r *rand.Rand, killed bool) stopped {
	t.Helper()
	s := stopped{filepath.Join(t.TempDir(), "kafka"), map[string][]string{}}
	live := filepath.Join(t.TempDir(), "live")
	server, err := kafkaserver.Start(kafkaserver.Options{DataDir: live})
	require.NoError(t, err)
	client := kafka.New(server.Addr())
	for _, topic := range []string{copied, only} { // of several files
		res, err := (&kgo.Client{Addr: kgo.TCP(server.Addr())}).CreateTopics(t.Context(), &kgo.CreateTopicsRequest{Topics: []kgo.TopicConfig{{
			Topic: topic, NumPartitions: 1, ReplicationFactor: -1, ConfigEntries: []kgo.ConfigEntry{{ConfigName: "segment.bytes", ConfigValue: "1200"}}}}})
		require.NoError(t, errors.Join(err, res.Errors[topic]))
	}
	for range 12 {
		for _, topic := range []string{copied, only} {
			var batch []string
			for range 1 + r.IntN(most) {
				batch = append(batch, fmt.Sprintf("%s %d %s", topic, len(s.want[topic])+len(batch), strings.Repeat("x", r.IntN(80))))
			}
			produce(t, client, topic, batch)
			s.want[topic] = append(s.want[topic], batch...)
		}
	}
	client.Close()
	if !killed {
		server.Stop()
	}
	require.NoError(t, os.CopyFS(s.dir, os.DirFS(live)))
	server.Stop()
	return s
}

func produce(t *testing.T, client *kafka.Client, topic string, values []string) {
	t.Helper()
	records := make([]kafka.Record, len(values))
	for i, v := range values {
		records[i] = kafka.Record{Value: []byte(v)}
	}
	require.NoError(t, client.Produce(t.Context(), topic, records...))
}

// read returns a topic's records by their offsets, and its end.
func read(t *testing.T, client *kafka.Client, topic string) (map[int64]string, int64) {
	t.Helper()
	first, end, err := client.Bounds(t.Context(), topic)
	require.NoError(t, err)
	require.Zero(t, first[0])
	all := map[int64]string{}
	for next := int64(0); next < end[0]; {
		records, to, err := client.Fetch(t.Context(), topic, 0, next, time.Second)
		require.NoError(t, err, "%s at %d of %d", topic, next, end[0])
		require.Greater(t, to, next, "%s at %d of %d", topic, next, end[0])
		for _, r := range records {
			all[r.Offset] = string(r.Value)
		}
		next = to
	}
	return all, end[0]
}

// start starts the broker on a stopped one's files; said is what it logged.
func (s stopped) start(t *testing.T) (server *kafkaserver.Server, client *kafka.Client, said *bytes.Buffer, err error) {
	t.Helper()
	said = &bytes.Buffer{}
	server, err = kafkaserver.Start(kafkaserver.Options{DataDir: s.dir, Copies: []string{copied},
		Logger: slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return nil, nil, said, err
	}
	return server, kafka.New(server.Addr()), said, nil
}

// right starts the broker and checks what must be true whatever happened to a file: what
// is copied again is then all there, and of the rest nothing is lost without a word.
func (s stopped) right(t *testing.T, atMost int) (said string, lost int) {
	t.Helper()
	server, client, log, err := s.start(t)
	if err != nil {
		require.ErrorContains(t, err, s.dir)
		return "refused: " + err.Error(), 0
	}
	all, end := read(t, client, copied)
	require.Len(t, all, int(end))
	require.LessOrEqual(t, int(end), len(s.want[copied]))
	if int(end) < len(s.want[copied]) {
		require.Contains(t, log.String(), "must be copied again")
		produce(t, client, copied, s.want[copied][end:])
	}
	all, end = read(t, client, only)
	was := int64(len(s.want[only]))
	require.GreaterOrEqual(t, end, was, "an offset is used again")
	for offset, value := range s.want[only] {
		if all[int64(offset)] != value {
			lost++
			require.Contains(t, log.String(), "are lost", "%d", offset)
			require.Contains(t, strings.Join(values(all), "\n"), "were lost", "somebody who comes to %d", offset)
		}
	}
	require.LessOrEqual(t, lost, atMost)
	produce(t, client, only, []string{"new"})
	client.Close()
	server.Stop()

	// And so it stays.
	server, client, again, err := s.start(t)
	require.NoError(t, err)
	require.Empty(t, again.String())
	now, _ := read(t, client, copied)
	for offset, value := range s.want[copied] {
		require.Equal(t, value, now[int64(offset)])
	}
	now, _ = read(t, client, only)
	all[end] = "new"
	require.Equal(t, all, now)
	client.Close()
	server.Stop()
	return log.String(), lost
}

func values(all map[int64]string) (out []string) {
	for _, v := range all {
		out = append(out, v)
	}
	return out
}

func files(t *testing.T, dir, suffix string) (out []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if info, ierr := d.Info(); err == nil && ierr == nil && !d.IsDir() && info.Size() > 0 && strings.HasSuffix(path, suffix) {
			out = append(out, path)
		}
		return err
	}))
	return out
}

func TestAByteThatChangedIsNeverASilentLoss(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed %d killed %v", seed, killed), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, 1))
				before := fill(t, r, killed)
				said, lost := before.copy(t).right(t, 0)
				require.Empty(t, said)
				require.Zero(t, lost)
				for n := range 12 {
					s := before.copy(t)
					suffix := ".dat"
					if n%4 == 3 {
						suffix = ""
					}
					all := files(t, s.dir, suffix)
					path := all[r.IntN(len(all))]
					b, err := os.ReadFile(path)
					require.NoError(t, err)
					at, by := r.IntN(len(b)), byte(1+r.IntN(255))
					b[at] ^= by
					require.NoError(t, os.WriteFile(path, b, 0o600))
					what := fmt.Sprintf("byte %d of %s, by %x", at, path, by)
					t.Log(what)
					said, lost := s.right(t, most)
					t.Log(lost, said)
					if suffix == ".dat" {
						require.NotContains(t, said, "refused", what)
						if bytes.Contains(b, []byte(copied)) {
							require.Zero(t, lost, what)
						}
					}
					if lost > 0 {
						kept := files(t, filepath.Join(s.dir, "damaged"), ".dat")
						require.Equal(t, filepath.Base(path), filepath.Base(kept[0]), what)
						old, err := os.ReadFile(kept[0])
						require.NoError(t, err)
						require.Equal(t, b, old)
						require.Contains(t, said, path, "the file is named")
					}
				}
			})
		}
	}
}

func (s stopped) copy(t *testing.T) stopped {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kafka")
	require.NoError(t, os.CopyFS(dir, os.DirFS(s.dir)))
	return stopped{dir, s.want}
}

func TestAFileThatIsShorterOrGone(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, path string, size int64){
		"cut in a batch": func(t *testing.T, path string, size int64) { require.NoError(t, os.Truncate(path, size/2+3)) },
		"empty":          func(t *testing.T, path string, _ int64) { require.NoError(t, os.Truncate(path, 0)) },
		"gone":           func(t *testing.T, path string, _ int64) { require.NoError(t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := fill(t, rand.New(rand.NewPCG(1, 2)), false)
			for _, topic := range []string{copied, only} {
				s := before.copy(t)
				all := files(t, filepath.Join(s.dir, "partitions", topic+"-0"), ".dat")
				require.Greater(t, len(all), 2)
				for i := range all {
					s := before.copy(t)
					path := files(t, filepath.Join(s.dir, "partitions", topic+"-0"), ".dat")[i]
					info, err := os.Stat(path)
					require.NoError(t, err)
					damage(t, path, info.Size())
					said, lost := s.right(t, len(s.want[only]))
					if name == "gone" && topic == copied && i == 0 {
						require.Contains(t, said, "0.dat is missing")
						continue
					}
					require.NotContains(t, said, "refused")
					require.Equal(t, topic == only, lost > 0)
				}
			}
		})
	}
}

// What a process was writing when it was killed was not acknowledged.
func TestATornEndIsCutOff(t *testing.T) {
	t.Parallel()
	before := fill(t, rand.New(rand.NewPCG(3, 4)), true)
	for _, topic := range []string{copied, only} {
		for _, more := range [][]byte{make([]byte, 4096), nil} {
			s := before.copy(t)
			all := files(t, filepath.Join(s.dir, "partitions", topic+"-0"), ".dat")
			path := slices.MaxFunc(all, func(a, b string) int { return cmp.Compare(len(a), len(b))*1000 + strings.Compare(a, b) })
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			if more == nil {
				more = b[:200]
			}
			require.NoError(t, os.WriteFile(path, append(b, more...), 0o600))
			said, lost := s.right(t, 0)
			require.Zero(t, lost)
			require.Contains(t, said, "never acknowledged")
			require.NotContains(t, said, "copied again")
		}
	}
}

func TestDamageThatCannotBeRepairedRefusesTheStart(t *testing.T) {
	t.Parallel()
	before := fill(t, rand.New(rand.NewPCG(5, 6)), false)
	for name, c := range map[string]struct {
		damage func(dir string) error
		text   string
	}{
		"no list of topics":   {func(dir string) error { return os.Remove(filepath.Join(dir, "topics.json")) }, "topics.json: it is missing"},
		"no broker":           {func(dir string) error { return os.Remove(filepath.Join(dir, "meta.json")) }, "meta.json: it is missing"},
		"half a list":         {func(dir string) error { return os.Truncate(filepath.Join(dir, "topics.json"), 40) }, "topics.json: it is not valid JSON"},
		"half of the windows": {func(dir string) error { return os.Truncate(filepath.Join(dir, "seq_windows.json"), 4) }, "seq_windows.json: it is not valid JSON"},
		"another's partition": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "partitions", only+"-0"), filepath.Join(dir, "partitions", "other-0"))
		}, "knows no such topic"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := before.copy(t)
			require.NoError(t, c.damage(s.dir))
			_, _, _, err := s.start(t)
			require.ErrorIs(t, err, kafkaserver.ErrDamaged)
			require.ErrorContains(t, err, c.text)
			require.ErrorContains(t, err, s.dir)
			require.ErrorContains(t, err, "freshet backups restore")
		})
	}
}

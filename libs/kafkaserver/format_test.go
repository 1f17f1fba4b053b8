package kafkaserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/stretchr/testify/require"
)

// The versions that the repair of files was tested with. The form of the files is
// private to kfake, and kfake is built with a newer franz-go than it asks for.
var tested = map[string]string{
	"github.com/twmb/franz-go":           "v1.22.3",
	"github.com/twmb/franz-go/pkg/kfake": "v0.0.0-20260918054303-01f206a7e32c",
}

func TestRepairIsTestedWithTheBrokerThatIsBuiltIn(t *testing.T) {
	t.Parallel()
	built := map[string]string{}
	for path := range tested {
		version, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", path).Output()
		require.NoError(t, err)
		built[path] = strings.TrimSpace(string(version))
	}
	require.Equal(t, tested, built, "the embedded Kafka changed: compare kfake's persist.go with repair.go and batch.go, "+
		"run the tests of this package, and write the new versions in format_test.go; kfake and franz-go change together")
}

// What repair.go knows of the files is what the broker writes.
func TestFilesHaveTheFormThatRepairReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := Start(Options{DataDir: dir})
	require.NoError(t, err)
	client := kafka.New(server.Addr())
	const topic = "a.b_c-1"
	require.NoError(t, client.Ensure(t.Context(), topic, 1))
	for n := range 3 {
		records := make([]kafka.Record, n+1)
		for i := range records {
			records[i] = kafka.Record{Key: []byte("key"), Value: []byte("value")}
		}
		require.NoError(t, client.Produce(t.Context(), topic, records...))
	}
	client.Close()
	server.Stop()

	require.Equal(t, []string{"acls.json", "broker_configs.json", "groups.log", "meta.json", "partitions", "pids.log",
		"quotas.json", "sasl.json", "seq_windows.json", "topics.json"}, names(t, dir))
	files := filepath.Join(dir, "partitions", topic+"-0")
	require.Equal(t, []string{"0.dat", "0.idx", "snapshot.json"}, names(t, files))

	file, err := os.ReadFile(filepath.Join(files, "0.dat"))
	require.NoError(t, err)
	index, err := os.ReadFile(filepath.Join(files, "0.idx"))
	require.NoError(t, err)
	s := &segment{partition: &partition{}}
	at, next := 0, int64(0)
	for n := range 3 {
		b, whole := batchAt(file, at)
		require.True(t, whole)
		require.Equal(t, batch{at: at, size: b.size, first: next, next: next + int64(n) + 1}, b)
		s.note(file[at : at+b.size])
		at, next = at+b.size, b.next
	}
	require.Len(t, file, at)
	require.True(t, sameIndex(index, s.index))
	for i := 0; i < len(index); i += indexEntry {
		require.Equal(t, s.index[i], index[i], "the version of an entry")
		require.Equal(t, s.index[i+2:i+6], index[i+2:i+6], "the epoch of an entry")
	}

	var noted snapshot
	require.NoError(t, readJSON(filepath.Join(files, "snapshot.json"), &noted))
	require.Equal(t, []int64{next, next, 0}, []int64{noted.HighWatermark, noted.LastStableOffset, noted.LogStartOffset})
	require.Len(t, noted.Segments, 1)
	require.Zero(t, noted.Segments[0].BaseOffset)
	require.EqualValues(t, len(file), noted.Segments[0].Size)

	known, err := (&repairer{dir: dir}).topics(true)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{topic: false}, known)
	for _, path := range []string{"meta.json", "topics.json", "broker_configs.json", "acls.json", "sasl.json", "quotas.json", "seq_windows.json",
		filepath.Join("partitions", topic+"-0", "snapshot.json")} {
		var file struct {
			Version int `json:"version"`
		}
		require.NoError(t, readJSON(filepath.Join(dir, path), &file))
		require.Equal(t, 1, file.Version, path)
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

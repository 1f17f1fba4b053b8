package evidence

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/libs/testkit/brokers"
	"github.com/stretchr/testify/require"
)

// topicOf stores a made log as audit's copier does; forge may change a record.
func topicOf(t *testing.T, all [][]byte, forge func(*kafka.Record)) (addr string, client *kafka.Client) {
	t.Helper()
	addr = testkit.KafkaAddr(t)
	return addr, stored(t, addr, all, forge)
}

// stored puts a made log into a broker's topic.
func stored(t *testing.T, addr string, all [][]byte, forge func(*kafka.Record)) *kafka.Client {
	t.Helper()
	client := kafka.New(addr)
	t.Cleanup(client.Close)
	require.NoError(t, client.Ensure(t.Context(), archive.Topic, 1))
	records := make([]kafka.Record, len(all))
	for i, data := range all {
		records[i] = kafka.Record{Value: data, Headers: []kafka.Header{
			{Key: archive.HeaderStream, Value: []byte("FRESHET_1")}, {Key: archive.HeaderSequence, Value: strconv.AppendInt(nil, int64(i+1), 10)},
			{Key: archive.HeaderEpoch, Value: []byte("1")}, {Key: archive.HeaderDigest, Value: []byte(archive.Digest(data))}}}
		if forge != nil {
			forge(&records[i])
		}
	}
	require.NoError(t, client.Produce(t.Context(), archive.Topic, records...))
	return client
}

func TestTheTopicIsVerifiedAndCopied(t *testing.T) {
	t.Parallel()
	m := makeLog(t, 83, 20)
	_, client := topicOf(t, m.all, nil)
	o := Options{Keys: []string{m.key.Public()}, Checkpoints: m.notes[:2]}
	r, err := VerifyTopic(t.Context(), client, o)
	require.NoError(t, err)
	require.Empty(t, r.Findings)
	require.EqualValues(t, 83, r.Events)
	require.EqualValues(t, 80, r.Covered, "the newest checkpoint in the log is over 80")

	dir := filepath.Join(t.TempDir(), "copy")
	signed, err := Dump(t.Context(), client, dir, nil)
	require.NoError(t, err)
	require.EqualValues(t, 80, signed.Size)
	r = sound(t, os.DirFS(dir), o)
	require.EqualValues(t, 80, r.Events)
	_, err = Dump(t.Context(), client, dir, nil)
	require.ErrorContains(t, err, "not empty")

	_, unsigned := topicOf(t, m.all[:10], nil)
	_, err = Dump(t.Context(), unsigned, filepath.Join(t.TempDir(), "copy"), nil)
	require.ErrorIs(t, err, ErrUnsigned)
}

// What a broker may do is told apart from what somebody did.
func TestATopicThatWasAltered(t *testing.T) {
	t.Parallel()
	m := makeLog(t, 83, 20)
	verify := func(all [][]byte, forge func(*kafka.Record)) Report {
		_, client := topicOf(t, all, forge)
		r, err := VerifyTopic(t.Context(), client, Options{Keys: []string{m.key.Public()}, Checkpoints: []string{m.final}})
		require.NoError(t, err)
		return r
	}
	contains := func(r Report, text string) {
		t.Helper()
		for _, f := range r.Findings {
			if strings.Contains(f.String(), text) {
				return
			}
		}
		require.Fail(t, "not found", "%s in %v", text, r.Findings)
	}

	_, client := topicOf(t, m.all, nil)
	again := func(sequence int64, data []byte) {
		require.NoError(t, client.Produce(t.Context(), archive.Topic, kafka.Record{Value: data, Headers: []kafka.Header{
			{Key: archive.HeaderSequence, Value: strconv.AppendInt(nil, sequence, 10)}, {Key: archive.HeaderDigest, Value: []byte(archive.Digest(data))}}}))
	}
	again(82, m.all[81])
	again(83, m.all[82])
	r, err := VerifyTopic(t.Context(), client, Options{Keys: []string{m.key.Public()}})
	require.NoError(t, err)
	require.Empty(t, r.Findings)
	require.EqualValues(t, 2, r.Repeated)
	again(82, m.all[80])
	r, err = VerifyTopic(t.Context(), client, Options{Keys: []string{m.key.Public()}})
	require.NoError(t, err)
	contains(r, "offset 85: sequence 82 comes after 83")

	// Who writes the topic can make a digest fit; the signature still tells.
	forged := strings.Replace(string(m.all[41]), `"missed":41`, `"missed":42`, 1)
	require.NotEqual(t, string(m.all[41]), forged)
	all := append([][]byte(nil), m.all...)
	all[41] = []byte(forged)
	contains(verify(all, nil), "the events from sequence 41 to 60 are not those that were signed")
	// Numbered anew after one was dropped.
	r = verify(append(append([][]byte(nil), m.all[:50]...), m.all[51:]...), nil)
	contains(r, "which follows its number")
	contains(r, "the events from sequence 41 to 60 are not those that were signed")
	// Cut at the end: only who kept a newer checkpoint knows.
	contains(verify(m.all[:70], nil), "there are 70: the log was cut")
	contains(verify(m.all, func(r *kafka.Record) { r.Headers[1].Value = []byte("x") }), "is not a copy of an event")
}

// The examples print what was recorded, from where on they are told.
func TestAuditConsumers(t *testing.T) {
	t.Parallel()
	m := makeLog(t, 60, 20)
	addr, client := topicOf(t, m.all, nil)
	// A broker may store again what it had stored.
	require.NoError(t, client.Produce(t.Context(), archive.Topic, kafka.Record{Value: m.all[59], Headers: []kafka.Header{
		{Key: archive.HeaderSequence, Value: []byte("60")}, {Key: archive.HeaderDigest, Value: []byte(archive.Digest(m.all[59]))}}}))
	var everything, ripple, model []string
	for i, b := range m.all {
		everything = append(everything, string(b))
		if i >= 24 && i <= 26 { // a root and what followed from it
			ripple = append(ripple, string(b))
		}
		if strings.Contains(string(b), `"model":"flight-delays"`) {
			model = append(model, string(b))
		}
	}
	require.Less(t, len(model), 60)
	examples, err := filepath.Abs("../../../../examples/audit-consumers")
	require.NoError(t, err)

	t.Run("Go", func(t *testing.T) {
		t.Parallel()
		program := filepath.Join(t.TempDir(), "audit")
		build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
		build.Dir = filepath.Join(examples, "go")
		out, err := build.CombinedOutput()
		require.NoError(t, err, string(out))
		read := func(args ...string) []string { return output(t, program, append([]string{"-kafka", addr}, args...)...) }
		require.Equal(t, everything, read())
		require.Equal(t, everything, read("-since", "2001-01-01T00:00:00Z"))
		require.Empty(t, read("-since", "2100-01-01T00:00:00Z"))
		require.Equal(t, ripple, read("-ripple", "0196a9f0-0000-7000-8000-000000000024"))
		require.Equal(t, model, read("-model", "flight-delays"))
	})
	t.Run("console", func(t *testing.T) {
		t.Parallel()
		if _, err := exec.LookPath("jq"); err != nil {
			unavailable(t, "jq is not installed")
		}
		path := "PATH=" + brokers.ConsoleConsumer(t) + string(os.PathListSeparator) + os.Getenv("PATH")
		read := func(t *testing.T, addr string, want []string, args ...string) {
			t.Helper()
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), filepath.Join(examples, "console", "audit.sh"), append([]string{"--kafka", addr, "--wait", "15"}, args...)...)
			cmd.Env = append(os.Environ(), path)
			require.Equal(t, want, lines(t, cmd))
		}
		for name, c := range map[string]struct {
			want []string
			args []string
		}{
			"everything":     {everything, nil},
			"from a time on": {everything, []string{"--since", "2001-01-01T00:00:00Z"}},
			"nothing yet":    {nil, []string{"--since", "2100-01-01T00:00:00Z"}},
			"a ripple":       {ripple, []string{"--ripple", "0196a9f0-0000-7000-8000-000000000024"}},
			"a model":        {model, []string{"--model", "flight-delays"}},
		} {
			t.Run(name, func(t *testing.T) { read(t, addr, c.want, c.args...) })
		}
		t.Run("on Apache Kafka", func(t *testing.T) {
			broker := brokers.Apache(t)
			stored(t, broker.Addr(), m.all, nil)
			read(t, broker.Addr(), ripple, "--since", "2001-01-01T00:00:00Z", "--ripple", "0196a9f0-0000-7000-8000-000000000024")
		})
	})
	t.Run("Python", func(t *testing.T) {
		t.Parallel()
		python := pythonWith(t, filepath.Join(examples, "python", "requirements.txt"))
		read := func(args ...string) []string {
			return output(t, python, append([]string{filepath.Join(examples, "python", "audit.py"), "--kafka", addr}, args...)...)
		}
		require.Equal(t, everything, read())
		require.Equal(t, everything, read("--since", "2001-01-01T00:00:00+00:00"))
		require.Equal(t, ripple, read("--ripple", "0196a9f0-0000-7000-8000-000000000024"))
		require.Equal(t, model, read("--model", "flight-delays"))
		out, err := exec.CommandContext(t.Context(), python, filepath.Join(examples, "python", "audit.py"), "--kafka", "127.0.0.1:1").CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "127.0.0.1:1 does not answer as Kafka does")
		require.NotContains(t, string(out), "Traceback")
	})
}

func output(t *testing.T, program string, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return lines(t, exec.CommandContext(ctx, program, args...))
}

func lines(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	require.NoError(t, err, errors.String())
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// unavailable skips the test of an example, or fails it if FRESHET_TEST_CONSUMERS is
// "required".
func unavailable(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("FRESHET_TEST_CONSUMERS") == "required" {
		t.Fatal("the examples are required (FRESHET_TEST_CONSUMERS):", reason)
	}
	t.Skip("not tried: " + reason)
}

// pythonWith returns a Python that has what a requirements.txt names.
func pythonWith(t *testing.T, requirements string) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		unavailable(t, "python3 is not installed")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), python, "-m", "venv", dir).CombinedOutput(); err != nil {
		unavailable(t, "no virtual environment can be made: "+string(out))
	}
	python = filepath.Join(dir, "bin", "python")
	if out, err := exec.CommandContext(t.Context(), python, "-m", "pip", "install", "-q", "-r", requirements).CombinedOutput(); err != nil {
		unavailable(t, "its packages cannot be fetched: "+string(out))
	}
	return python
}

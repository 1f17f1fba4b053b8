package evidence

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// made is a made log: roots of console, what training did because of them, and audit's
// checkpoints.
type made struct {
	key   transparency.Key
	all   [][]byte
	notes []string // of the checkpoints, oldest first
	final string   // over all
}

// place completes a draft as a suite's recorder does.
func place(t require.TestingT, e event.Event, owner string, number int, id, cause string) []byte {
	e.SetID(id)
	e.SetSource("/freshet/" + owner)
	e.SetTime(time.Date(2001, 1, 6, 0, 0, number, 0, time.UTC))
	e.SetExtension("correlationid", id)
	e.SetExtension("hops", int32(0))
	if cause != "" {
		e.SetExtension("causationid", cause)
		e.SetExtension("correlationid", cause)
		e.SetExtension("hops", int32(1))
	}
	e.SetExtension("sequence", fmt.Sprintf("%020d", number))
	b, err := events.Codec{}.Encode(e)
	require.NoError(t, err)
	return b
}

// makeLog makes a log of n events with a checkpoint after every so many.
func makeLog(t require.TestingT, n, every int) *made {
	m := &made{all: make([][]byte, 0, n)}
	var err error
	m.key, err = transparency.NewKey("example.com/log")
	require.NoError(t, err)
	tree := transparency.NewTree()
	numbers := map[string]int{}
	cause, sign := "", func() string {
		root, err := tree.Root(tree.Size())
		require.NoError(t, err)
		note, err := m.key.Checkpoint(tree.Size(), root)
		require.NoError(t, err)
		return note
	}
	for len(m.all) < n {
		var e event.Event
		var err error
		owner, because := "", ""
		switch i := len(m.all); {
		case i > 0 && i%every == 0:
			note := sign()
			root, rerr := tree.Root(tree.Size())
			require.NoError(t, rerr)
			m.notes = append(m.notes, note)
			owner = "audit"
			e, err = events.NewCheckpointSigned("default", "log", events.CheckpointSigned{Size: tree.Size(), Root: fmt.Sprintf("sha256:%x", root[:]),
				Note: note, Key: m.key.Public()})
		case i%3 == 0 || cause == "":
			owner = "console"
			e, err = events.NewTrainingAsked("default", "flight-delays", events.TrainingAsked{Model: "flight-delays"})
		default:
			owner, because = "training", cause
			e, err = events.NewScheduleTicked("default", "flight-delays", events.ScheduleTicked{Model: "flight-delays",
				Tick: time.Date(2001, 1, 6, 0, 0, i, 0, time.UTC), Missed: int64(i)})
		}
		require.NoError(t, err)
		numbers[owner]++
		id := fmt.Sprintf("0196a9f0-0000-7000-8000-%012d", len(m.all))
		b := place(t, e, owner, numbers[owner], id, because)
		if owner == "console" {
			cause = id
		}
		require.NoError(t, tree.Append(b))
		m.all = append(m.all, b)
	}
	m.final = sign()
	return m
}

// copyOf writes a copy as Dump does.
func copyOf(t testing.TB, m *made, every int64) fstest.MapFS {
	t.Helper()
	dir := t.TempDir()
	w := &copyWriter{dir: dir, every: every}
	for i, b := range m.all {
		require.NoError(t, w.add(int64(i+1), b))
	}
	require.NoError(t, w.close())
	files := fstest.MapFS{CheckpointFile: {Data: []byte(m.final)}, KeyFile: {Data: []byte(m.key.Public() + "\n")}}
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range found {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		files[f.Name()] = &fstest.MapFile{Data: b}
	}
	return files
}

func sound(t require.TestingT, files fs.FS, o Options) Report {
	r, err := VerifyCopy(files, o)
	require.NoError(t, err)
	require.Empty(t, r.Findings)
	return r
}

func tampered(t require.TestingT, how string, files fs.FS, o Options) {
	o.Limit = 1
	r, err := VerifyCopy(files, o)
	if err == nil {
		require.NotEmpty(t, r.Findings, how)
	}
}

// tamper changes one thing in one file and says what.
func tamper(t *rapid.T, files fstest.MapFS) (changed fstest.MapFS, how string) {
	changed = fstest.MapFS{}
	names := make([]string, 0, len(files))
	for name, f := range files {
		changed[name] = f
		names = append(names, name)
	}
	slices.Sort(names)
	var logs []string
	for _, name := range names {
		if strings.HasSuffix(name, eventsSuffix) {
			logs = append(logs, name)
		}
	}
	set := func(name string, b []byte) { changed[name] = &fstest.MapFile{Data: b} }
	lines := func(name string) [][]byte {
		return bytes.SplitAfter(bytes.TrimSuffix(files[name].Data, []byte("\n")), []byte("\n"))
	}
	join := func(l [][]byte) []byte { return append(bytes.TrimSuffix(bytes.Join(l, nil), []byte("\n")), '\n') }
	one := rapid.SampledFrom(logs).Draw(t, "file")
	l := lines(one)
	at := rapid.IntRange(0, len(l)-1).Draw(t, "line")
	l[len(l)-1] = append(bytes.TrimSuffix(bytes.Clone(l[len(l)-1]), []byte("\n")), '\n')
	how = rapid.SampledFrom([]string{"byte", "bit", "drop", "swap", "repeat", "move"}).Draw(t, "how")
	switch how {
	case "byte", "bit":
		name := rapid.SampledFrom(append([]string{CheckpointFile, KeyFile}, logs...)).Draw(t, "any file")
		b := bytes.Clone(files[name].Data)
		i := rapid.IntRange(0, len(b)-1).Draw(t, "byte")
		if how == "bit" {
			b[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		} else {
			b[i] = rapid.Byte().Filter(func(c byte) bool { return c != b[i] }).Draw(t, "value")
		}
		set(name, b)
		return changed, how + " " + strconv.Itoa(i) + " of " + name
	case "drop":
		set(one, join(slices.Delete(slices.Clone(l), at, at+1)))
		if len(l) == 1 {
			delete(changed, one)
		}
	case "repeat":
		to := rapid.IntRange(0, len(l)).Draw(t, "to")
		set(one, join(slices.Insert(slices.Clone(l), to, l[at])))
	case "swap":
		other := rapid.SampledFrom(logs).Draw(t, "other file")
		if other == one {
			to := rapid.IntRange(0, len(l)-1).Filter(func(i int) bool { return i != at || len(l) == 1 }).Draw(t, "other line")
			if to == at {
				return tamper(t, files)
			}
			l[at], l[to] = l[to], l[at]
			set(one, join(l))
			break
		}
		m := lines(other)
		m[len(m)-1] = append(bytes.TrimSuffix(bytes.Clone(m[len(m)-1]), []byte("\n")), '\n')
		to := rapid.IntRange(0, len(m)-1).Draw(t, "other line")
		l[at], m[to] = m[to], l[at]
		set(one, join(l))
		set(other, join(m))
	case "move":
		to := rapid.IntRange(0, len(l)-1).Draw(t, "to")
		if to == at {
			return tamper(t, files)
		}
		line := l[at]
		set(one, join(slices.Insert(slices.Delete(slices.Clone(l), at, at+1), to, line)))
	}
	return changed, fmt.Sprintf("%s line %d of %s", how, at+1, one)
}

// A file beside a copy is under no signature: it is named, and harms nothing.
func TestAFileThatIsNotOfTheCopyIsNamed(t *testing.T) {
	t.Parallel()
	m := makeLog(t, 23, 10)
	files := copyOf(t, m, 25)
	require.Empty(t, sound(t, files, Options{every: 25}).Foreign)
	files["README"] = &fstest.MapFile{Data: []byte("where it comes from")}
	require.Equal(t, []string{"README"}, sound(t, files, Options{every: 25}).Foreign)
}

// Whatever one changes in a small copy is found, with the key and without.
func TestTamperingWithASmallCopyIsFound(t *testing.T) {
	t.Parallel()
	m := makeLog(t, 83, 20)
	files := copyOf(t, m, 25)
	r := sound(t, files, Options{Keys: []string{m.key.Public()}, every: 25})
	require.EqualValues(t, 83, r.Events)
	require.EqualValues(t, 83, r.Covered)
	require.Equal(t, 5, r.Checkpoints)
	require.Equal(t, map[string]uint64{"/freshet/audit": 4, "/freshet/console": 27, "/freshet/training": 52}, r.Sources)
	rapid.Check(t, func(t *rapid.T) {
		changed, how := tamper(t, files)
		tampered(t, how, changed, Options{Keys: []string{m.key.Public()}, every: 25})
		tampered(t, how, changed, Options{every: 25})
	})
}

var large = sync.OnceValue(func() *made { return makeLog(failNow{}, 100_000, 1000) })

// failNow lets the large log be made once for all tests.
type failNow struct{}

func (failNow) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (failNow) FailNow()                          { panic("the made log cannot be made") }

// The same for a copy of 100,000 events.
func TestPromise08TamperingIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("it verifies 100,000 events several times")
	}
	t.Parallel()
	m := large()
	files := copyOf(t, m, fileEvents)
	require.Len(t, files, 12)
	o := Options{Keys: []string{m.key.Public()}}
	began := time.Now()
	r := sound(t, files, o)
	t.Logf("100,000 events verified in %s", time.Since(began).Round(time.Millisecond))
	require.EqualValues(t, 100_000, r.Events)
	require.Equal(t, 100, r.Checkpoints)
	seed := int(time.Now().UnixNano() % 1_000_000)
	for round := range testkit.Figure(4, 200) {
		changed, how := fstest.MapFS(nil), ""
		rapid.Custom(func(t *rapid.T) bool { changed, how = tamper(t, files); return true }).Example(seed + round)
		tampered(t, fmt.Sprintf("seed %d: %s", seed+round, how), changed, o)
	}
}

package evidence

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
)

// Names of a copy's files.
const (
	CheckpointFile = "checkpoint"
	KeyFile        = "key"
	eventsPrefix   = "events-"
	eventsSuffix   = ".jsonl"
)

const (
	fileEvents = 10_000
	lineLimit  = 4 * events.MaxEvent
	lookBack   = 2_000 // messages searched at once for the newest checkpoint
)

// ErrUnsigned: nothing is signed yet.
var ErrUnsigned = errors.New("the archive has no signed checkpoint yet: freshet checkpoints sign makes one")

func eventsFile(first int64) string {
	return fmt.Sprintf("%s%020d%s", eventsPrefix, first, eventsSuffix)
}

// appendLine writes an event as a line of a copy.
func appendLine(b []byte, sequence int64, data []byte) ([]byte, error) {
	if !utf8.Valid(data) {
		return b, fmt.Errorf("the event at sequence %d is not UTF-8 and cannot be copied", sequence)
	}
	b = append(b, `{"sequence":`...)
	b = strconv.AppendInt(b, sequence, 10)
	b = append(append(b, `,"digest":"`...), archive.Digest(data)...)
	b = append(b, `","event":`...)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(data)); err != nil {
		return b, err
	}
	b = append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
	return append(b, "}\n"...), nil
}

// parseLine reads what appendLine wrote. The digest is as it is told.
func parseLine(line []byte) (sequence int64, digest string, data []byte, err error) {
	rest, ok1 := bytes.CutPrefix(line, []byte(`{"sequence":`))
	number, rest, ok2 := bytes.Cut(rest, []byte(`,"digest":"`))
	told, rest, ok3 := bytes.Cut(rest, []byte(`","event":`))
	text, ok4 := bytes.CutSuffix(rest, []byte("}\n"))
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return 0, "", nil, errors.New("the line is not an event's")
	}
	if sequence, err = strconv.ParseInt(string(number), 10, 64); err != nil || sequence < 1 {
		return 0, "", nil, errors.New("the line has no sequence")
	}
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, "", nil, errors.New("the line's event is not a JSON string")
	}
	data = []byte(s)
	again, err := appendLine(make([]byte, 0, len(line)), sequence, data)
	if err != nil {
		return 0, "", nil, err
	}
	if digest = string(told); digest == archive.Digest(data) && !bytes.Equal(again, line) {
		return 0, "", nil, errors.New("the line is not written as a suite writes it")
	}
	return sequence, digest, data, nil
}

// Dump copies the archive into a new directory, up to the newest signed checkpoint,
// and returns that. What is written last is the checkpoint: a copy without it is not
// whole.
func Dump(ctx context.Context, client archive.Kafka, dir string, progress func(done, all int64)) (events.CheckpointSigned, error) {
	if found, err := os.ReadDir(dir); err == nil && len(found) > 0 {
		return events.CheckpointSigned{}, fmt.Errorf("%s is not empty: name a new directory", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return events.CheckpointSigned{}, err
	}
	reader := archive.New(client)
	c, err := newestCheckpoint(ctx, reader)
	if err != nil {
		return c, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return c, err
	}
	w := &copyWriter{dir: dir, every: fileEvents}
	err = reader.Read(ctx, 1, uint64(c.Size), func(batch []archive.Record) error {
		for _, r := range batch {
			if err := w.add(int64(r.Sequence), r.Data); err != nil {
				return err
			}
		}
		if progress != nil {
			progress(int64(batch[len(batch)-1].Sequence), c.Size)
		}
		return nil
	})
	if err = errors.Join(err, w.close()); err != nil {
		return c, err
	}
	if err := os.WriteFile(filepath.Join(dir, KeyFile), []byte(c.Key+"\n"), 0o644); err != nil { //nolint:gosec // it is public
		return c, err
	}
	return c, os.WriteFile(filepath.Join(dir, CheckpointFile), []byte(c.Note), 0o644) //nolint:gosec // it is public
}

// newestCheckpoint looks from the archive's end backwards.
func newestCheckpoint(ctx context.Context, reader *archive.Reader) (c events.CheckpointSigned, err error) {
	tail, err := reader.Tail(ctx)
	if err != nil {
		return c, err
	}
	for to := tail.Sequence; to > 0 && c.Size == 0; {
		from := max(to, lookBack) - lookBack + 1
		err := reader.Read(ctx, from, to, func(batch []archive.Record) error {
			for _, r := range batch {
				if p, ok := checkpointOf(r.Data); ok {
					c = p
				}
			}
			return nil
		})
		if err != nil {
			return c, err
		}
		to = from - 1
	}
	if c.Size == 0 {
		return c, ErrUnsigned
	}
	return c, nil
}

func checkpointOf(data []byte) (events.CheckpointSigned, bool) {
	if !bytes.Contains(data, []byte(events.TypeCheckpointSigned)) {
		return events.CheckpointSigned{}, false
	}
	e, err := events.Codec{}.Decode(data)
	if err != nil || e.Type() != events.TypeCheckpointSigned {
		return events.CheckpointSigned{}, false
	}
	p, err := events.Parse[events.CheckpointSigned](e)
	return p, err == nil
}

// copyWriter writes a copy's files.
type copyWriter struct {
	dir   string
	every int64 // events in a file
	file  *os.File
	out   *bufio.Writer
	n     int64
	line  []byte
}

func (w *copyWriter) add(sequence int64, data []byte) (err error) {
	if w.n%w.every == 0 {
		if err := w.close(); err != nil {
			return err
		}
		if w.file, err = os.OpenFile(filepath.Join(w.dir, eventsFile(sequence)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err != nil {
			return err
		}
		w.out = bufio.NewWriterSize(w.file, 1<<20)
	}
	w.n++
	if w.line, err = appendLine(w.line[:0], sequence, data); err != nil {
		return err
	}
	_, err = w.out.Write(w.line)
	return err
}

func (w *copyWriter) close() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.out.Flush(), w.file.Sync(), w.file.Close())
	w.file = nil
	return err
}

// eventsFiles are a copy's files of events, in order, and what is no part of it.
func eventsFiles(dir fs.FS) (names, foreign []string, err error) {
	found, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, nil, err
	}
	for _, f := range found {
		switch name := f.Name(); {
		case strings.HasPrefix(name, eventsPrefix) || strings.HasSuffix(name, eventsSuffix):
			names = append(names, name)
		case name != CheckpointFile && name != KeyFile:
			foreign = append(foreign, name)
		}
	}
	slices.Sort(names)
	return names, foreign, nil
}

// readLines calls fn with every line of a file, its end included.
func readLines(r io.Reader, fn func(number int, line []byte) bool) error {
	in := bufio.NewReaderSize(r, lineLimit)
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if !fn(number, line) || err != nil {
			return nil
		}
	}
}

// Package golden keeps a recorded log, a real run of all services, and proves
// with it that a fold means today what it meant when the log was recorded: every
// later version must rebuild the same state from it.
//
// testdata/log.jsonl.gz holds one event per line, byte for byte as the log has
// them, in the log's order; `make golden` records it anew, which is needed only
// when contracts break or there is something new to record. testdata/digests.json
// says what every service's tables hold after it; `make golden-digests` writes
// that file, and refuses where a fold changed and its FoldVersion did not.
package golden

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
)

// maxEvent is far above what an event may measure.
const maxEvent = 16 << 20

// Write writes events, as the log has them, to a file.
func Write(path string, events [][]byte) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if closing := f.Close(); err == nil {
			err = closing
		}
	}()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	for i, e := range events {
		if bytes.ContainsAny(e, "\r\n") {
			return fmt.Errorf("event %d has a line break", i+1)
		}
		if _, err := z.Write(append(bytes.Clone(e), '\n')); err != nil {
			return err
		}
	}
	return z.Close()
}

// Read reads the events of a file, in their order.
func Read(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var events [][]byte
	lines := bufio.NewReaderSize(z, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > maxEvent {
			return nil, fmt.Errorf("%s: event %d is longer than any may be", path, len(events)+1)
		}
		if err == io.EOF && len(line) == 0 {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: after event %d: %w", path, len(events), err)
		}
		events = append(events, bytes.TrimSuffix(line, []byte{'\n'}))
	}
}

package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A bit flips in the log's store while its server is stopped. Who reads the event there
// reads it from the archive; where that does not have it, everybody stops, and names it.
func TestPromise16ADamagedEventIsReadFromTheArchive(t *testing.T) {
	t.Parallel()
	const events = 20 // of adder, each with a decision
	for name, c := range map[string]struct {
		damaged  []string // a part of the event's bytes
		archived uint64   // events of the log
		names    string   // what everybody says who stops
	}{
		"in the middle":                {[]string{`"subject":"subject-7"`}, 2 * events, ""},
		"one after the other":          {[]string{`added","subject":"subject-7"`, `doubled","subject":"subject-7"`}, 2 * events, ""},
		"the service's last event":     {[]string{`doubled","subject":"subject-19"`}, 2 * events, ""},
		"not in the archive":           {[]string{`"subject":"subject-7"`}, 10, "lacks event 15"},
		"the last, not in the archive": {[]string{`doubled","subject":"subject-19"`}, 10, "lacks event 40"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx := context.Background()
			dir, serve := w.durable()
			client := emptyArchive(t)
			l, err := w.openArchived(client, counts("adder"))
			require.NoError(t, err)
			stop := run(t, l)
			for i := range events {
				_, err := l.RecordAndWait(ctx, fact("adder.added", fmt.Sprintf("subject-%d", i), 1))
				require.NoError(t, err)
			}
			settle(t, l)
			require.EqualValues(t, 2*events, w.end())
			archived(t, l, client, 1, c.archived, nil)
			stop()
			w.nats.Stop()
			blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", stream, "msgs", "*.blk"))
			require.NoError(t, err)
			require.Len(t, blocks, 1)
			raw, err := os.ReadFile(blocks[0])
			require.NoError(t, err)
			for _, part := range c.damaged {
				at := bytes.Index(raw, []byte(part))
				require.Positive(t, at, part)
				raw[at+len(part)-2] ^= 1
			}
			require.NoError(t, os.WriteFile(blocks[0], raw, 0o600))
			serve()

			// Who was up to date, and who reads the log from its beginning.
			l, err = w.openArchived(client, counts("adder"))
			if c.names != "" {
				if err == nil {
					_, err = l.Verify(ctx, FromLog, nil)
				}
				require.ErrorContains(t, err, c.names)
				return
			}
			require.NoError(t, err)
			run(t, l)
			other, err := w.openArchived(client, NewFold("other", 1, ""))
			require.NoError(t, err)
			run(t, other)
			_, err = l.RecordAndWait(ctx, fact("adder.added", "x", 1))
			require.NoError(t, err)
			settle(t, l, other)
			for _, log := range []*Log{l, other} {
				report, err := log.Verify(ctx, FromLog, nil)
				require.NoError(t, err)
				require.True(t, report.Equal, "%+v", report.Difference)
				require.NoError(t, log.Status(ctx).Err)
			}
		})
	}
}

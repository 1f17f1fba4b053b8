package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	drawAgain  = 100 * time.Millisecond // at the earliest
	drawLatest = time.Second            // what no event says, such as the age of something, is looked for so often
)

// watch draws again whenever the suite records an event and what is drawn has changed,
// until the command is interrupted, which is how it ends. A terminal shows the newest alone.
func (c *client) watch(cmd *cobra.Command, draw func(io.Writer) error) error {
	ctx := cmd.Context()
	out := cmd.OutOrStdout()
	f, ok := out.(*os.File)
	clears := ok && terminal(f)
	changed := c.changes(ctx)
	var last []byte
	for first := true; ; first = false {
		now, err := captured(draw)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if first || !bytes.Equal(now, last) {
			if err := redraw(out, now, clears, !first && !c.forPrograms()); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(drawAgain):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(drawLatest):
		}
	}
}

// redraw writes over what was there, or below it.
func redraw(w io.Writer, now []byte, clears, below bool) error {
	before := ""
	switch {
	case clears:
		before = "\x1b[H\x1b[2J"
	case below:
		before = "\n"
	}
	_, err := w.Write(append([]byte(before), now...))
	return err
}

// changes tells of events that are recorded, by the suite's stream of them. Without audit,
// which serves it, nothing is told.
func (c *client) changes(ctx context.Context) <-chan struct{} {
	told := make(chan struct{}, 1)
	go func() {
		res, err := c.open(ctx, http.MethodGet, "/v1/events/tail", nil, "", nil)
		if err != nil {
			return
		}
		defer res.Body.Close() //nolint:errcheck // only read from
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, longestLine)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") {
				select {
				case told <- struct{}{}:
				default:
				}
			}
		}
	}()
	return told
}

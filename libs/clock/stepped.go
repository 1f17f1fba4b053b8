package clock

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"
)

// look is how old what was read of a stepped clock's file may be.
const look = 20 * time.Millisecond

// Stepped is the machine's clock plus the duration that a file holds, such as
// "-1h", for as long as it holds it: nothing is added where there is no file or no
// duration in it. Whoever writes the file makes this clock step, forward or back,
// under the process that reads it.
func Stepped(path string) Clock { return &stepped{path: path} }

type stepped struct {
	path string

	mu   sync.Mutex
	read time.Time
	step time.Duration
}

func (s *stepped) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.read) > look {
		s.read, s.step = now, 0
		if b, err := os.ReadFile(s.path); err == nil {
			if d, err := time.ParseDuration(strings.TrimSpace(string(b))); err == nil {
				s.step = d
			}
		}
	}
	return now.Add(s.step).UTC().Round(0)
}

func (s *stepped) Until(ctx context.Context, t time.Time) error {
	for {
		wait := t.Sub(s.Now())
		if wait <= 0 {
			return nil
		}
		timer := time.NewTimer(min(wait, look))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

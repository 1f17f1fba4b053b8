package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/web"
)

// errNotNow: the service does not lead, or replays already.
var errNotNow = errors.New("not now")

// A replayed service: its state folded again from the log or the archive, and every
// decision made again.
type replayed struct {
	Events     uint64          `json:"events"`
	Equal      bool            `json:"equal"`
	Difference json.RawMessage `json:"difference"`
}

// replay asks a service to rebuild or to verify itself, and waits for its report.
func (s *Suite) replay(ctx context.Context, service, what, from string) (replayed, error) {
	var report replayed
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL(service)+"/v1/replay/"+service+"/"+what+"?from="+from, strings.NewReader("{}"))
	if err != nil {
		return report, err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: web.Bearer{Token: token}}).Do(r) // as long as the replay takes
	if err != nil {
		return report, err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	if res.StatusCode == http.StatusConflict {
		return report, errNotNow
	}
	if res.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
		return report, fmt.Errorf("%s of %s: %s: %s", what, service, res.Status, why)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 16<<20)
	event := ""
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event:"); ok {
			event = strings.TrimSpace(name)
		}
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		switch {
		case ok && event == "report":
			err := json.Unmarshal([]byte(data), &report)
			return report, err
		case ok && event == "error":
			return report, fmt.Errorf("%s of %s: %s", what, service, data)
		}
	}
	return report, errors.Join(fmt.Errorf("%s of %s ended without a report", what, service), lines.Err())
}

// verify lets services fold the log again and compares with what is live.
func (s *Suite) verify(ctx context.Context, services []string, from string, f *Findings) error {
	for _, service := range services {
		for began := time.Now(); ; {
			r, err := s.replay(ctx, service, "verify", from)
			if errors.Is(err, errNotNow) && time.Since(began) < 10*time.Second {
				sleep(ctx, 50*time.Millisecond)
				continue
			}
			if err != nil {
				return err
			}
			if !r.Equal {
				f.diverged("%s is not what the %s makes of it: %s", service, from, r.Difference)
			}
			break
		}
	}
	return nil
}

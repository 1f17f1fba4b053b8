package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
)

// A status is what /statusz says, as far as it matters here.
type status struct {
	Service  string           `json:"service"`
	Position uint64           `json:"position"`
	End      uint64           `json:"end"`
	Behind   map[string]int64 `json:"behind"`
	Settled  bool             `json:"settled"`
	Error    string           `json:"error"`
}

func (s *Suite) status(ctx context.Context, instance string) (status, error) {
	var st status
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := s.get(ctx, s.URL(instance)+"/statusz", &st)
	return st, err
}

func (s *Suite) get(ctx context.Context, url string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	if res.StatusCode/100 != 2 {
		why, _ := io.ReadAll(io.LimitReader(res.Body, 2<<10))
		return fmt.Errorf("%s: %s: %s", url, res.Status, bytes.TrimSpace(why))
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// Ready waits until every service says that it is. Where one never does, the suite is
// ended, and tells what it waited for.
func (s *Suite) Ready(ctx context.Context) error {
	for _, name := range s.o.Services {
		for {
			var told any
			err := s.get(ctx, s.URL(name)+"/readyz", &told)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return errors.Join(fmt.Errorf("%s is not ready: %w", name, err), s.unready(context.WithoutCancel(ctx)))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// unready says why services are not ready, and ends all, since one may wait for another,
// with their goroutines in their logs.
func (s *Suite) unready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var errs []error
	for _, name := range s.o.Services {
		var told any
		if err := s.get(ctx, s.URL(name)+"/readyz", &told); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range s.o.Services {
		s.procs[name].Signal(syscall.SIGQUIT)
	}
	sleep(ctx, time.Second) // for them to write
	return errors.Join(errs...)
}

// Settle waits until no service has anything left to do.
func (s *Suite) Settle(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last []string
	for quiet := 0; quiet < 2; {
		last = last[:0]
		end, err := s.end(ctx)
		if err != nil {
			last = append(last, "the log: "+err.Error())
		}
		for _, name := range s.o.Services {
			st, err := s.status(ctx, name)
			switch {
			case err != nil:
				last = append(last, name+": "+err.Error())
			case !st.Settled || st.Position != end:
				last = append(last, fmt.Sprintf("%s: at %d of %d, behind %v %s", name, st.Position, end, st.Behind, st.Error))
			}
		}
		if quiet++; len(last) > 0 {
			quiet = 0
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not settled within %s: %s", within, strings.Join(last, "; "))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (s *Suite) end(ctx context.Context) (uint64, error) {
	name, err := attest.Current(ctx, s.js)
	if err != nil {
		return 0, err
	}
	stream, err := s.js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// api calls the suite as any of its users would.
type api struct {
	url   string
	token string
	http  *http.Client
}

// An answerError is an answer of the suite that is not a success.
type answerError struct {
	status int
	body   string
}

func (e *answerError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.body) }

// status of the answer that err carries; 0 if it carries none.
func status(err error) int {
	var a *answerError
	if errors.As(err, &a) {
		return a.status
	}
	return 0
}

func (a *api) do(ctx context.Context, method, path, contentType string, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("X-Freshet-Console", "demo")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %w", method, path, &answerError{res.StatusCode, strings.TrimSpace(string(raw))})
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(raw, answer)
}

func (a *api) get(ctx context.Context, path string, answer any) error {
	return a.do(ctx, http.MethodGet, path, "", nil, answer)
}

func (a *api) post(ctx context.Context, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return a.do(ctx, http.MethodPost, path, "application/json", raw, answer)
}

// settled waits until no service has anything left to do at the present instant of
// the suite's clock, and returns how many events the log then has. It gives up where
// what the suite says of itself does not change for long. Each question costs every
// service a look into its log and database, so they become rarer while it works.
func (a *api) settled(ctx context.Context) (int, error) {
	var last, before json.RawMessage
	idle := time.NewTimer(idleTimeout)
	defer idle.Stop()
	quiet := 0
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if err := a.get(ctx, "/statusz", &last); err != nil {
			return 0, fmt.Errorf("waiting for the suite to settle: %w; last it said %s", err, before)
		}
		if !bytes.Equal(last, before) {
			idle.Reset(idleTimeout)
		}
		before = bytes.Clone(last)
		var s struct {
			Settled bool `json:"settled"`
			End     int  `json:"end"`
		}
		if err := json.Unmarshal(last, &s); err != nil {
			return 0, fmt.Errorf("/statusz answered %s: %w", last, err)
		}
		// Twice in a row: what one service finished may be news to another.
		if s.Settled {
			if quiet++; quiet == 2 {
				return s.End, nil
			}
			pause = time.Millisecond
		} else {
			quiet = 0
		}
		select {
		case <-time.After(pause):
		case <-idle.C:
			return 0, fmt.Errorf("the suite did not settle: for %s it said %s", idleTimeout, last)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/libs/web"
)

// answerLimit bounds what is read of one answer.
const answerLimit = 256 << 20

// client talks to a suite.
type client struct {
	url       string
	namespace string
	output    string
	timeout   time.Duration
	actor     string // who acts; empty where it is not said

	anyNamespace bool      // parked events of all namespaces are asked for
	warnings     io.Writer // where is said what is missing in an answer
}

// get reads a route into v, and returns the answer as it came.
func (c *client) get(ctx context.Context, path string, query url.Values, v any) (json.RawMessage, error) {
	return c.call(ctx, http.MethodGet, path, query, "", nil, v)
}

// post sends v as JSON.
func (c *client) post(ctx context.Context, path string, body, v any) (json.RawMessage, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, http.MethodPost, path, nil, "application/json", bytes.NewReader(b), v)
}

func (c *client) call(ctx context.Context, method, path string, query url.Values, contentType string, body io.Reader, v any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := c.open(ctx, method, path, query, contentType, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	raw, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", c.url+path, err)
	}
	if v != nil {
		if err := json.Unmarshal(raw, v); err != nil {
			return nil, fmt.Errorf("%s did not answer like a Freshet suite: %w", c.url+path, err)
		}
	}
	return raw, nil
}

// open sends a request and returns a successful answer.
func (c *client) open(ctx context.Context, method, path string, query url.Values, contentType string, body io.Reader) (*http.Response, error) {
	if query == nil {
		query = url.Values{}
	}
	if !query.Has("namespace") {
		query.Set("namespace", c.namespace)
	}
	if u, err := url.Parse(c.url); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, usagef("--url %q is not a suite's address: write one such as %s", c.url, defaultURL)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.url, "/")+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, fmt.Errorf("--url %s: %w", c.url, err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if err := c.authorize(r); err != nil {
		return nil, err
	}
	r.Header.Set("X-Freshet-Console", "cli")
	if c.actor != "" {
		r.Header.Set(web.ActorHeader, c.actor)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	return nil, problemOf(res)
}

func (c *client) explain(err error) error {
	var dns *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled // by a signal, which says nothing of the suite
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no suite answers at %s: start one with freshet up, or name another with --url", c.url)
	case errors.Is(err, context.DeadlineExceeded):
		return timeoutf("the suite at %s did not answer within %s (--timeout)", c.url, c.timeout)
	case errors.As(err, &dns):
		return fmt.Errorf("no suite answers at %s: %w", c.url, dns.Err)
	}
	return err
}

// problemOf makes an error of a problem document, or of whatever came.
func problemOf(res *http.Response) error {
	e := &answerError{Status: res.StatusCode, Text: "the suite answered " + res.Status}
	if res.StatusCode == http.StatusUnauthorized {
		e.Text = needsToken
		return e
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return e
	}
	var p struct {
		Title, Detail, Rule, Fix string
	}
	if json.Unmarshal(b, &p) == nil && p.Title != "" {
		e.Text, e.Rule, e.Fix = p.Detail, p.Rule, p.Fix
		if p.Detail == "" {
			e.Text = strings.ToLower(p.Title[:1]) + p.Title[1:]
		}
	} else if text := strings.TrimSpace(string(b)); text != "" && len(text) < 500 {
		e.Text += ": " + text
	}
	return e
}

// warn says what is missing in an answer.
func (c *client) warn(text string) {
	if c.warnings != nil {
		_, _ = fmt.Fprintln(c.warnings, text) // it is nothing but a warning
	}
}

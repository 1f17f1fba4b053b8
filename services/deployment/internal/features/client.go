// Package features asks a feature server for online features by Feast's HTTP API:
// one request for all rows of an inference request, except where two views read
// the same join key from different columns. It invents nothing: a server that
// does not answer, or answers in another shape than asked, is an error, and a
// value that is not there is NaN.
package features

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrUnavailable is wrapped when the feature server does not answer as it should.
var ErrUnavailable = errors.New("the feature server is not available")

// A Refusal is the feature server's answer to values that it cannot use: it works,
// and the same request would be refused again.
type Refusal struct {
	Message string // the server's
}

func (r *Refusal) Error() string { return "the feature server refuses the request: " + r.Message }

const responseLimit = 256 << 20

// A Feature to be asked for.
type Feature struct {
	View    string
	Version int64
	Feature string
}

// Name is how the feature server knows it.
func (f Feature) Name() string {
	return f.View + "@" + strconv.FormatInt(f.Version, 10) + ":" + f.Feature
}

// An Entity is a join key, or a column that an on-demand view computes from, and
// its value for each row: JSON, ready to be sent.
type Entity struct {
	Name   string
	Values json.RawMessage
}

// Client asks one feature server. It is safe for concurrent use and keeps its
// connections open.
type Client struct {
	url   string
	token string // sent with every request; empty where none is needed
	http  *http.Client
}

// New returns a client of the server at url that waits at most timeout.
func New(url, token string, timeout time.Duration) *Client {
	return &Client{url: url + "/get-online-features", token: token, http: &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext,
			MaxIdleConns:        64,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
		},
	}}
}

type answer struct {
	Metadata struct {
		FeatureNames []string `json:"feature_names"`
	} `json:"metadata"`
	Results []struct {
		Values   json.RawMessage `json:"values"`
		Statuses []string        `json:"statuses"`
	} `json:"results"`
}

// Get returns one slice of rows values for each feature, in the order asked.
// NaN stands for a value that is not there.
func (c *Client) Get(ctx context.Context, namespace string, entities []Entity, features []Feature, rows int) ([][]float64, error) {
	body := make([]byte, 0, 4096)
	body = append(body, `{"entities":{`...)
	for i, e := range entities {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendQuote(body, e.Name)
		body = append(body, ':')
		body = append(body, e.Values...)
	}
	body = append(body, `},"features":[`...)
	for i, f := range features {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendQuote(body, f.Name())
	}
	body = append(body, `],"full_feature_names":true}`...)

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"?namespace="+namespace, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, responseLimit))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return nil, &Refusal{Message: message(raw)}
	default:
		return nil, fmt.Errorf("%w: it answered %d: %s", ErrUnavailable, resp.StatusCode, message(raw))
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if len(a.Results) != len(a.Metadata.FeatureNames) {
		return nil, fmt.Errorf("%w: it answered %d results for %d names", ErrUnavailable, len(a.Results), len(a.Metadata.FeatureNames))
	}
	out := make([][]float64, len(features))
	for i, f := range features {
		at := find(a.Metadata.FeatureNames, f)
		if at < 0 {
			return nil, fmt.Errorf("%w: its answer lacks %s", ErrUnavailable, f.Name())
		}
		if out[i], err = numbers(a.Results[at].Values, a.Results[at].Statuses, rows); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, f.Name(), err)
		}
	}
	return out, nil
}

// message is what a server's error says. Feast's server sends a JSON string that
// holds JSON with the message; others send the object, with a message or a detail.
func message(raw []byte) string {
	var inner string
	if json.Unmarshal(raw, &inner) == nil {
		raw = []byte(inner)
	}
	text := string(raw)
	var says struct {
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	}
	if json.Unmarshal(raw, &says) == nil {
		if detail, ok := says.Detail.(string); ok && detail != "" {
			text = detail
		}
		if says.Message != "" {
			text = says.Message
		}
	}
	return strings.ToValidUTF8(text[:min(len(text), 512)], "")
}

// find looks a feature up among the names of an answer. Servers differ in how
// much of a reference they repeat; the most exact name wins, a bare one counts
// only where no other result has it.
func find(names []string, f Feature) int {
	v := strconv.FormatInt(f.Version, 10)
	for _, full := range []string{
		f.View + "@" + v + "__" + f.Feature, f.View + "@v" + v + "__" + f.Feature, f.Name(),
		f.View + "__" + f.Feature, f.View + ":" + f.Feature, f.Feature,
	} {
		found := -1
		for i, n := range names {
			if n != full {
				continue
			}
			if found >= 0 {
				return -1
			}
			found = i
		}
		if found >= 0 {
			return found
		}
	}
	return -1
}

func numbers(raw json.RawMessage, statuses []string, rows int) ([]float64, error) {
	var values []*float64
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, err
	}
	if len(values) != rows {
		return nil, fmt.Errorf("%d values for %d rows", len(values), rows)
	}
	out := make([]float64, rows)
	for i, v := range values {
		if v == nil || len(statuses) == rows && statuses[i] != "PRESENT" {
			out[i] = math.NaN()
		} else {
			out[i] = *v
		}
	}
	return out, nil
}

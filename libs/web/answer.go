package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ErrTooLarge means that a request's body is longer than its route takes.
var ErrTooLarge = errors.New("the body is too large")

// JSON answers with v as JSON.
func JSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		Problem(w, http.StatusInternalServerError, "Internal error", "the answer cannot be written as JSON: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client is gone if this fails
}

// Items is a list as every route answers with one.
type Items[T any] struct {
	Items []T `json:"items"`
}

// List answers with a list; one without items is empty, not null.
func List[T any](w http.ResponseWriter, items []T) {
	if items == nil {
		items = []T{}
	}
	JSON(w, http.StatusOK, Items[T]{Items: items})
}

// A ProblemDocument is RFC 9457's.
type ProblemDocument struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Problem answers with a problem document. Title is the same for every
// occurrence; detail says what is wrong with this one and how to fix it.
func Problem(w http.ResponseWriter, status int, title, detail string) {
	b, err := json.Marshal(ProblemDocument{Type: "about:blank", Title: title, Status: status, Detail: detail})
	if err != nil {
		b = []byte(`{"type":"about:blank","title":"Internal error","status":500}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone if this fails
}

// Body reads a request's body, at most limit bytes of it. A longer one is
// ErrTooLarge, which callers answer with 413; nothing beyond the limit is read.
func Body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, r.ContentLength, limit)
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, fmt.Errorf("%w: at most %d bytes are taken", ErrTooLarge, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	return b, nil
}

// BodyProblem answers a failed Body: 413 for one that is too large, else 400.
func BodyProblem(w http.ResponseWriter, err error) {
	if errors.Is(err, ErrTooLarge) {
		Problem(w, http.StatusRequestEntityTooLarge, "Body too large", err.Error())
		return
	}
	Problem(w, http.StatusBadRequest, "Bad body", err.Error())
}

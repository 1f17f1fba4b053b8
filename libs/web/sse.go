package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Stream sends server-sent events to one client. Its methods may be called by
// several goroutines. A client that does not read is cut off.
type Stream struct {
	mu sync.Mutex
	w  http.ResponseWriter
	rc *http.ResponseController
}

// streamWrite is how long a client may take to accept one event.
const streamWrite = 10 * time.Second

// SSE begins an event stream. The handler then sends until the request's context
// ends or a send fails.
func SSE(w http.ResponseWriter) (*Stream, error) {
	s := &Stream{w: w, rc: http.NewResponseController(w)}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if err := s.flush(); err != nil {
		return nil, err
	}
	return s, nil
}

// Send sends one event. Event and id may be empty; data may have several lines.
func (s *Stream) Send(event, id string, data []byte) error {
	if strings.ContainsAny(event, "\r\n") || strings.ContainsAny(id, "\r\n\x00") {
		return errors.New("an event's name and id are single lines")
	}
	var b bytes.Buffer
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	if event != "" {
		fmt.Fprintf(&b, "event: %s\n", event)
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		fmt.Fprintf(&b, "data: %s\n", line)
	}
	b.WriteByte('\n')
	return s.write(b.Bytes())
}

// SendJSON sends one event with v as its data.
func (s *Stream) SendJSON(event, id string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.Send(event, id, b)
}

// Ping sends a comment, so that proxies and clients see that the stream lives.
func (s *Stream) Ping() error { return s.write([]byte(": \n\n")) }

func (s *Stream) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline()
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (s *Stream) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline()
	return s.rc.Flush()
}

// deadline renews the write deadline; a recorder in tests has none.
func (s *Stream) deadline() { _ = s.rc.SetWriteDeadline(time.Now().Add(streamWrite)) }

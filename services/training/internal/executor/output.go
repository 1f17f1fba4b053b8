package executor

import (
	"fmt"
	"sync"
)

// Output keeps what a job writes, its beginning and its end, up to a bound.
type Output struct {
	mu      sync.Mutex
	head    []byte
	tail    []byte // a ring once it is full
	at      int
	dropped int64
	limit   int // of each half
}

// NewOutput keeps at most limit bytes.
func NewOutput(limit int) *Output { return &Output{limit: max(limit/2, 1)} }

// Write never fails.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(b)
	if left := o.limit - len(o.head); left > 0 {
		take := min(left, len(b))
		o.head = append(o.head, b[:take]...)
		b = b[take:]
	}
	for len(b) > 0 {
		if left := o.limit - len(o.tail); left > 0 {
			take := min(left, len(b))
			o.tail = append(o.tail, b[:take]...)
			b = b[take:]
			continue
		}
		took := copy(o.tail[o.at:], b)
		o.at = (o.at + took) % o.limit
		o.dropped += int64(took)
		b = b[took:]
	}
	return n, nil
}

// Bytes are what was kept, with a line where bytes were left out.
func (o *Output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := append([]byte(nil), o.head...)
	if o.dropped > 0 {
		out = fmt.Appendf(out, "\n… %d bytes left out …\n", o.dropped)
	}
	out = append(out, o.tail[o.at:]...)
	return append(out, o.tail[:o.at]...)
}

// end is the last part of what was written, to look for why it failed.
func (o *Output) end(n int) []byte {
	b := o.Bytes()
	return b[max(0, len(b)-n):]
}

package brokers

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	produceKey = 0
	frameLimit = 64 << 20
)

// proxy carries Kafka's protocol between clients and a broker, request by request.
type proxy struct {
	listener net.Listener
	target   string
	lose     atomic.Int64
	lost     atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
	all   sync.WaitGroup
}

func newProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.all.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	_ = p.listener.Close() // nothing is lost
	p.cut()
	p.all.Wait()
}

// cut closes every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // that is the point
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.DialTimeout("tcp", p.target, time.Second)
		if err != nil { // it is down
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[broker] = true, true
		p.mu.Unlock()
		p.all.Go(func() {
			p.carry(client, broker)
			p.mu.Lock()
			delete(p.conns, client)
			delete(p.conns, broker)
			p.mu.Unlock()
		})
	}
}

// carry serves one connection until either side ends it.
func (p *proxy) carry(client, broker net.Conn) {
	end := func() {
		_ = client.Close()
		_ = broker.Close()
	}
	var mu sync.Mutex
	produced := map[int32]bool{} // correlation ids
	var both sync.WaitGroup
	both.Go(func() {
		defer end()
		for {
			frame, err := readFrame(client)
			if err != nil {
				return
			}
			if len(frame) >= 8 && binary.BigEndian.Uint16(frame) == produceKey {
				mu.Lock()
				produced[int32(binary.BigEndian.Uint32(frame[4:]))] = true //nolint:gosec // it is one
				mu.Unlock()
			}
			if writeFrame(broker, frame) != nil {
				return
			}
		}
	})
	both.Go(func() {
		defer end()
		for {
			frame, err := readFrame(broker)
			if err != nil {
				return
			}
			if len(frame) >= 4 {
				id := int32(binary.BigEndian.Uint32(frame)) //nolint:gosec // it is one
				mu.Lock()
				stored := produced[id]
				delete(produced, id)
				mu.Unlock()
				if stored && p.lose.Add(-1) >= 0 {
					p.lost.Add(1)
					return
				}
			}
			if writeFrame(client, frame) != nil {
				return
			}
		}
	})
	both.Wait()
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > frameLimit {
		return nil, errors.New("no Kafka frame")
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(r, frame)
	return frame, err
}

func writeFrame(w io.Writer, frame []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame))) //nolint:gosec // below the limit
	_, err := w.Write(append(b, frame...))
	return err
}

package brokers

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafkaserver"
)

// A Broker is a running one. Its address stays while it is killed and started again.
type Broker struct {
	t     testing.TB
	proxy *proxy
	start func() (kill func(), err error)
	kill  func()
}

// newBroker makes a broker of how one is started behind the proxy's address.
func newBroker(t testing.TB, start func(target, advertised string) (kill func(), err error)) *Broker {
	t.Helper()
	target, err := freeAddr()
	if err != nil {
		t.Fatalf("a broker for tests: %v", err)
	}
	p, err := newProxy(target)
	if err != nil {
		t.Fatalf("a broker for tests: %v", err)
	}
	b := &Broker{t: t, proxy: p, start: func() (func(), error) { return start(target, p.addr()) }}
	t.Cleanup(func() {
		b.Kill()
		p.close()
	})
	b.Start()
	return b
}

// Addr is where clients find it.
func (b *Broker) Addr() string { return b.proxy.addr() }

// Kill ends the broker at once, as kill -9 does where it is a process. Connections
// are cut.
func (b *Broker) Kill() {
	if b.kill != nil {
		b.kill()
		b.kill = nil
	}
	b.proxy.cut()
}

// Start starts a killed broker again, on what it had stored.
func (b *Broker) Start() {
	b.t.Helper()
	kill, err := b.start()
	if err != nil {
		b.t.Fatalf("a broker for tests: %v", err)
	}
	b.kill = kill
}

// LoseAnswers has the answers to the next n requests that store something lost: the
// broker stored it, and the connection is cut instead of saying so.
func (b *Broker) LoseAnswers(n int) { b.proxy.lose.Store(int64(n)) }

// Lost is how many answers were.
func (b *Broker) Lost() int { return int(b.proxy.lost.Load()) }

// Embedded starts the broker that a suite embeds.
func Embedded(t testing.TB) *Broker {
	t.Helper()
	dir := t.TempDir()
	return newBroker(t, func(target, advertised string) (func(), error) {
		_, port, err := net.SplitHostPort(target)
		if err != nil {
			return nil, err
		}
		n, err := net.LookupPort("tcp", port)
		if err != nil {
			return nil, err
		}
		s, err := kafkaserver.Start(kafkaserver.Options{DataDir: dir, Port: n, Copies: []string{archive.Topic}, Advertise: advertised})
		if err != nil {
			return nil, err
		}
		return s.Stop, nil
	})
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// unavailable skips the test with a reason, or fails it where the broker is required.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	if os.Getenv("FRESHET_TEST_KAFKA") == "required" {
		t.Fatalf("Apache Kafka is required (FRESHET_TEST_KAFKA): %s", reason)
	}
	t.Skipf("without Apache Kafka: %s", reason)
}

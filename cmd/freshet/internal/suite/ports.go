package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/freshet-io/freshet/libs/web"
)

// ports are where clients find the suite, the log's server and Kafka. The last two stay
// the same for a data directory, unless somebody else has taken them.
type ports struct {
	HTTP     int            `json:"http,omitempty"` // as --listen said at the last start
	NATS     int            `json:"nats"`
	Kafka    int            `json:"kafka"`
	Services map[string]int `json:"services,omitempty"` // of services in processes of their own
}

// usual ports are tried first.
const (
	usualNATS  = 4222
	usualKafka = 9092
)

func readPorts(dir string) (ports, error) {
	path := filepath.Join(dir, "ports.json")
	want := ports{NATS: usualNATS, Kafka: usualKafka}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return want, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		return ports{}, fmt.Errorf("%s: %w", path, err)
	}
	return want, nil
}

func (p ports) write(dir string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "ports.json"), append(b, '\n'), 0o644) //nolint:gosec // no secret
}

// onFreePort starts a server on a port, or on another if somebody has that one,
// and notes which it became.
func onFreePort(port *int, start func(port int) error) error {
	const tries = 5
	var err error
	for range tries {
		if err = start(*port); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		l, listenErr := net.Listen("tcp", "127.0.0.1:0")
		if listenErr != nil {
			return listenErr
		}
		addr, ok := l.Addr().(*net.TCPAddr)
		if closeErr := l.Close(); closeErr != nil || !ok {
			return errors.Join(err, closeErr)
		}
		*port = addr.Port
	}
	return err
}

// listenBeforeFree listens; where the port may be any, on one that n free ports
// follow. These are below 32768, where the kernel takes none for a connection
// that somebody opens, so that they are still free when their servers start.
func listenBeforeFree(listen string, n int, g web.Gate) (net.Listener, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port != "0" {
		return web.Listen(listen, g)
	}
	const tries, low, high = 100, 20000, 32768
	for range tries {
		first := low + rand.IntN(high-low-n) //nolint:gosec // no secret
		var l net.Listener
		if l, err = web.Listen(net.JoinHostPort(host, strconv.Itoa(first)), g); err != nil {
			continue
		}
		if err = areFree(first+1, n); err == nil {
			return l, nil
		}
		if closeErr := l.Close(); closeErr != nil {
			return nil, closeErr
		}
	}
	return nil, err
}

func areFree(first, n int) error {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

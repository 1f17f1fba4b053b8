package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// ports are where outside clients find the log's server and Kafka. They stay the
// same for a data directory, unless somebody else has taken them.
type ports struct {
	NATS  int `json:"nats"`
	Kafka int `json:"kafka"`
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

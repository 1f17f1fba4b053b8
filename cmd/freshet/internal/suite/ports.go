package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
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

func choosePorts(dir string) (ports, error) {
	path := filepath.Join(dir, "ports.json")
	want := ports{NATS: usualNATS, Kafka: usualKafka}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return ports{}, fmt.Errorf("%s: %w", path, err)
	}
	have := ports{}
	if have.NATS, err = free(want.NATS); err != nil {
		return ports{}, err
	}
	if have.Kafka, err = free(want.Kafka); err != nil {
		return ports{}, err
	}
	if b, err = json.Marshal(have); err != nil {
		return ports{}, err
	}
	return have, os.WriteFile(path, append(b, '\n'), 0o644) //nolint:gosec // no secret
}

// free returns the wanted port if nobody listens on it, else another.
func free(want int) (int, error) {
	for _, port := range []int{want, 0} {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		addr, ok := l.Addr().(*net.TCPAddr)
		if err := l.Close(); err != nil {
			return 0, err
		}
		if ok {
			return addr.Port, nil
		}
	}
	return 0, errors.New("no free loopback port")
}

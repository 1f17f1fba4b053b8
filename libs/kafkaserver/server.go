// Package kafkaserver stands where a Kafka broker would on one machine: franz-go's
// kfake in process, with its state on disk and every batch synced before it is
// acknowledged.
//
// It guarantees what was acknowledged across a stop and across a kill, and
// listens on loopback only. It is one broker without replicas: what is claimed of
// Kafka is tested on Kafka.
//
// Every batch on its disk is checked at the start. A topic whose records are copied to
// it (Options.Copies) ends before the first batch that is damaged, so that they are
// copied again from there. In any other one a record stands in the place of those that
// are lost and says so: every other record stays, at its offset, and no offset is used
// twice. Both are told as errors, and the damaged files are kept. What cannot be made up
// for, as the list of topics, refuses the start with the file and what to do.
package kafkaserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Options of a server.
type Options struct {
	DataDir string
	Port    int // 0 for any free one
	Logger  *slog.Logger

	// Copies are topics whose records somebody copies to them in order, and goes on
	// from the last one that they have.
	Copies []string

	// Advertise is the address that clients are told to use, where they reach the
	// broker through something else, as a proxy.
	Advertise string
}

// Server is a running broker.
type Server struct {
	cluster *kfake.Cluster
	addr    string
	once    sync.Once
}

// Start starts the broker and recovers what its data directory holds.
func Start(o Options) (*Server, error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("kafka's data directory: %w", err)
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := (&mender{dir: o.DataDir, copies: o.Copies, logger: logger, began: time.Now()}).mend(); err != nil {
		return nil, err
	}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.Ports(o.Port),
		kfake.ClusterID("freshet"),
		kfake.DataDir(o.DataDir),
		kfake.SyncWrites(),
		kfake.DefaultNumPartitions(1),
		kfake.WithLogger(kfakeLogger{logger}),
		kfake.BrokerConfigs(map[string]string{
			"message.max.bytes":                    "8388608",
			"group.consumer.heartbeat.interval.ms": "5000",
		}),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			l, err := net.Listen(network, net.JoinHostPort("127.0.0.1", port))
			if err != nil || o.Advertise == "" {
				return l, err
			}
			addr, err := net.ResolveTCPAddr("tcp", o.Advertise)
			if err != nil {
				return nil, errors.Join(err, l.Close())
			}
			return advertised{l, addr}, nil
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("starting the embedded Kafka in %s: %w", o.DataDir, err)
	}
	addrs := cluster.ListenAddrs()
	if len(addrs) != 1 {
		cluster.Close()
		return nil, fmt.Errorf("starting the embedded Kafka: %d listeners instead of one", len(addrs))
	}
	return &Server{cluster: cluster, addr: addrs[0]}, nil
}

// An advertised listener says that it listens elsewhere.
type advertised struct {
	net.Listener
	addr net.Addr
}

func (a advertised) Addr() net.Addr { return a.addr }

// Addr is where clients find it.
func (s *Server) Addr() string { return s.addr }

// Stop closes the broker; its state is on disk.
func (s *Server) Stop() { s.once.Do(s.cluster.Close) }

// kfakeLogger gives kfake's own lines to slog, below the suite's own importance.
type kfakeLogger struct{ logger *slog.Logger }

func (l kfakeLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	msg := strings.TrimSpace(fmt.Sprintf(format, args...))
	switch level {
	case kfake.LogLevelError:
		l.logger.Error(msg)
	case kfake.LogLevelWarn:
		l.logger.Warn(msg)
	default:
		l.logger.Debug(msg)
	}
}

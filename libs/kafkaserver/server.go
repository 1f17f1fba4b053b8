// Package kafkaserver is an embedded Kafka broker for one machine: franz-go's kfake in
// this process, with its state on disk and every batch synced before it is
// acknowledged.
//
// It guarantees what was acknowledged across a stop and across a kill, and
// listens on loopback only. It is one broker without replicas: what is claimed of
// Kafka is tested on Kafka.
//
// Every batch on its disk is checked, and repaired, at the start. A topic whose records
// are copied to it (Options.Copies) is cut before the first damaged batch, and the
// copier copies the rest again. In any other topic a placeholder record replaces lost
// records and describes the loss: every other record stays at its offset, and no offset
// is assigned twice. Both are logged as errors, and the damaged files are backed up.
// Damage that cannot be repaired, such as a damaged list of topics, refuses the start
// with the name of the file and the fix.
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

	// Copies are topics whose records another process copies to them in order, always
	// continuing after the last record that they have.
	Copies []string

	// Advertise is the address that clients are told to use, where they reach the
	// broker through a proxy.
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
	if err := (&repairer{dir: o.DataDir, copies: o.Copies, logger: logger, began: time.Now()}).repair(); err != nil {
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

// An advertised listener reports another address than its own.
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

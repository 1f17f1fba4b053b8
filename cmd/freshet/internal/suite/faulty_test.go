package suite

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

const (
	waitLimit = 2 * time.Minute
	poll      = 20 * time.Millisecond
)

// A faultySuite is a suite into whose stores faults are injected.
type faultySuite struct {
	t            *testing.T
	dir          string
	services     []string
	clock        clock.Clock // the system's if nil
	suite        *Suite
	acknowledged map[string]bool // ids of facts whose recording was acknowledged
	asked        int
}

func newFaulty(t *testing.T, services ...string) *faultySuite {
	t.Helper()
	return newFaultyIn(t, faultyDir(t), services...)
}

func faultyDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-epochs-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func newFaultyIn(t *testing.T, dir string, services ...string) *faultySuite {
	t.Helper()
	if len(services) == 0 {
		services = []string{"audit", "training", "console"}
	}
	h := faultyOf(t, dir, services)
	h.start()
	return h
}

// faultyOf is one whose suite is started by somebody else.
func faultyOf(t *testing.T, dir string, services []string) *faultySuite {
	t.Helper()
	// Ports that no other suite takes while a server is unavailable.
	require.NoError(t, ports{NATS: freePort(t), Kafka: freePort(t)}.write(dir))
	return &faultySuite{t: t, dir: dir, services: services, acknowledged: map[string]bool{}}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr, ok := l.Addr().(*net.TCPAddr)
	require.True(t, ok)
	require.NoError(t, l.Close())
	return addr.Port
}

func (h *faultySuite) logger() *slog.Logger {
	level := slog.LevelError + 1
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(h.t.Output(), &slog.HandlerOptions{Level: level}))
}

func (h *faultySuite) tryStart() error {
	var err error
	h.suite, err = Start(context.Background(), Options{
		DataDir: h.dir, Auth: service.AuthNone, Listen: "127.0.0.1:0", Services: h.services, Clock: h.clock, Logger: h.logger(),
	})
	return err
}

func (h *faultySuite) start() {
	h.t.Helper()
	require.NoError(h.t, h.tryStart())
	s := h.suite
	h.t.Cleanup(func() {
		if h.suite == s {
			_ = s.Stop(context.Background())
		}
	})
}

func (h *faultySuite) stop() {
	h.t.Helper()
	require.NoError(h.t, h.suite.Stop(context.Background()))
	h.suite = nil
}

func (h *faultySuite) log(name string) *eventlog.Log {
	h.t.Helper()
	for _, s := range h.suite.services {
		if s.Name() == name {
			return s.Log()
		}
	}
	h.t.Fatalf("%s does not run", name)
	return nil
}

// record records facts that another service decides on, and remembers them.
func (h *faultySuite) record(n int) {
	h.t.Helper()
	for range n {
		require.NoError(h.t, h.tryRecord(waitLimit))
	}
}

func (h *faultySuite) tryRecord(within time.Duration) error {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	h.asked++
	draft, err := events.NewTrainingAsked("default", "m", events.TrainingAsked{Model: "m"})
	require.NoError(h.t, err)
	receipts, err := h.log("console").Record(ctx, eventlog.Fact{Event: draft, Key: []string{"asked", strconv.Itoa(h.asked)}, Actor: "tester"})
	if err == nil {
		h.acknowledged[receipts[0].ID] = true
	}
	return err
}

// applied waits until every service has applied the whole log.
func (h *faultySuite) applied() {
	h.t.Helper()
	stable := 0
	var last Status
	require.Eventually(h.t, func() bool {
		last = h.suite.Status(context.Background())
		if !drained(last) {
			stable = 0
			return false
		}
		stable++
		return stable > 2
	}, waitLimit, poll, "%+v", &last)
}

// drained tells whether every service has published what it recorded and applied the
// whole log.
func drained(at Status) bool {
	for _, s := range at.Services {
		if s.Error != "" || s.Position != at.End || s.Behind["outbox"] != 0 {
			return false
		}
	}
	return true
}

// everywhere tells whether so many events of a subject are in the log, and every service
// has applied the last of them. The log may grow meanwhile.
func (h *faultySuite) everywhere(n int, subject string) bool {
	ctx := context.Background()
	js, err := jetstream.New(h.suite.infra.admin)
	require.NoError(h.t, err)
	name, err := attest.Current(ctx, js)
	if err != nil {
		return false
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return false
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return false
	}
	for _, count := range info.State.Subjects {
		n -= int(count) //nolint:gosec // a test's few
	}
	last, err := stream.GetLastMsgForSubject(ctx, subject)
	if err != nil || n > 0 {
		return false
	}
	for _, s := range h.suite.Status(ctx).Services {
		if s.Error != "" || s.Position < last.Sequence {
			return false
		}
	}
	return true
}

func (h *faultySuite) settled() {
	h.t.Helper()
	h.settledWithin(waitLimit)
}

func (h *faultySuite) settledWithin(within time.Duration) {
	h.t.Helper()
	var last Status
	require.Eventually(h.t, func() bool {
		last = h.suite.Status(context.Background())
		return last.Settled
	}, within, poll, "%+v", &last)
}

func (h *faultySuite) copy(from, to string) {
	h.t.Helper()
	require.NoError(h.t, os.RemoveAll(filepath.Join(h.dir, to)))
	out, err := exec.Command("cp", "-a", filepath.Join(h.dir, from), filepath.Join(h.dir, to)).CombinedOutput()
	require.NoError(h.t, err, "%s", out)
}

// nats stops the log's server, changes its directory, and starts it again where it
// was, while everything else lives on.
func (h *faultySuite) nats(change func()) {
	h.t.Helper()
	i := h.suite.infra
	port := h.portOf(i.nats.Addr())
	i.nats.Stop()
	change()
	var err error
	i.nats, err = natsserver.Start(natsserver.Options{DataDir: filepath.Join(h.dir, "nats"), Port: port, Users: Users(), Logger: h.logger()})
	require.NoError(h.t, err)
}

// stopKafka takes Kafka away; what it returns brings it back.
func (h *faultySuite) stopKafka() (back func()) {
	h.t.Helper()
	i := h.suite.infra
	port := h.portOf(i.kafka.Addr())
	i.kafka.Stop()
	return func() {
		h.t.Helper()
		var err error
		i.kafka, err = kafkaserver.Start(kafkaserver.Options{DataDir: filepath.Join(h.dir, "kafka"), Port: port})
		require.NoError(h.t, err)
	}
}

func (h *faultySuite) portOf(addr string) int {
	h.t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(h.t, err)
	n, err := strconv.Atoi(port)
	require.NoError(h.t, err)
	return n
}

func (h *faultySuite) sql(statement string, args ...any) {
	h.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, h.suite.infra.postgres.URL())
	require.NoError(h.t, err)
	defer conn.Close(ctx) //nolint:errcheck // of a test
	_, err = conn.Exec(ctx, statement, args...)
	require.NoError(h.t, err)
}

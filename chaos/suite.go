package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/testkit/apachekafka"
	"github.com/freshet-io/freshet/libs/testkit/disk"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Servers are what services need.
var Servers = []string{"nats", "kafka", "postgres"}

// Options of a suite of processes.
type Options struct {
	Services []string // each a binary of this name
	Dir      string   // empty and its own
	Binaries string   // directory of the services' binaries
	Self     string   // this program, which also serves nats, kafka and postgres
	Inside   bool     // namespaces of its own: disks may be mounted
	Kafka    Kafka
	Users    string // file with the log's users, as freshet nats-users prints them
}

// Kafka is which one a suite has.
type Kafka string

// The Kafkas.
const (
	Embedded Kafka = "kfake"
	Apache   Kafka = "apache"
)

func (k Kafka) String() string {
	if k == Apache {
		return "Apache Kafka " + apachekafka.Version
	}
	return "the embedded Kafka"
}

// A Suite is all its processes, and the harness's own ways to each of them, which
// no fault goes through.
type Suite struct {
	o     Options
	procs map[string]*Process
	links map[string]*link
	disks map[string]*disk.Disk // none without namespaces
	ports map[string]int
	http  *http.Client

	mu     sync.Mutex
	second map[string]*Process // instances beside the first

	db    *pgxpool.Pool
	nats  *nats.Conn
	js    jetstream.JetStream
	kafka *kafka.Client

	stopReaping chan struct{}
}

// token lets the harness and the services into each other.
const token = "chaos"

// stopWithin is what a service's stop may take.
const stopWithin = 30 * time.Second

// Start starts everything and returns when it is ready.
func Start(ctx context.Context, o Options) (*Suite, error) {
	s := &Suite{o: o, procs: map[string]*Process{}, links: map[string]*link{}, disks: map[string]*disk.Disk{}, ports: map[string]int{},
		second: map[string]*Process{}, http: &http.Client{Timeout: 20 * time.Second, Transport: web.Bearer{Token: token}}, stopReaping: make(chan struct{})}
	go s.reap()
	for _, name := range s.o.Services {
		if _, err := os.Stat(filepath.Join(o.Binaries, name)); err != nil {
			return nil, fmt.Errorf("the service %s: %w: build it with go build -o %s ./services/%s/cmd/%s", name, err, o.Binaries, name, name)
		}
	}
	for _, dir := range []string{"logs", "data", "objects", "clocks"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Suite) start(ctx context.Context) (err error) {
	if err := s.takePorts(); err != nil {
		return err
	}
	proxies := newLinks()
	for _, name := range Servers {
		if err := s.mount(name); err != nil {
			return err
		}
		if s.links[name], err = newLink(proxies, name, s.addr(name+"/link"), s.addr(name)); err != nil {
			return err
		}
		s.procs[name] = newProcess(name, s.logs(), s.o.Self, os.Environ, "serve", name,
			"-dir", s.dir(name), "-port", fmt.Sprint(s.ports[name]), "-advertise", s.addr(name+"/link"), "-users", s.o.Users,
			"-kafka", string(s.o.Kafka), "-controller", s.addr("kafka/controller"))
		s.procs[name].Up()
	}
	if err := s.mount("objects"); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := s.connect(starting); err != nil {
		return fmt.Errorf("the servers: %w\n%s", err, s.lastLines())
	}
	for _, name := range s.o.Services {
		s.procs[name] = newProcess(name, s.logs(), filepath.Join(s.o.Binaries, name), func() []string { return s.environment(name, name) })
		s.procs[name].Up()
	}
	if err := s.Ready(starting); err != nil {
		return fmt.Errorf("%w\n%s", err, s.lastLines())
	}
	return nil
}

// dir is a server's directory, or the objects'.
func (s *Suite) dir(name string) string { return filepath.Join(s.o.Dir, name) }

// mount makes such a directory a disk of its own, where that is possible.
func (s *Suite) mount(name string) error {
	if !s.o.Inside {
		return os.MkdirAll(s.dir(name), 0o755)
	}
	d, err := disk.Mount(s.dir(name))
	if err == nil {
		s.disks[name] = d
	}
	return err
}

func (s *Suite) logs() string { return filepath.Join(s.o.Dir, "logs") }

// takePorts finds free ports for everything.
func (s *Suite) takePorts() error {
	names := []string{"kafka/controller"}
	for _, name := range Servers {
		names = append(names, name, name+"/link")
	}
	for _, name := range s.o.Services {
		names = append(names, name, name+"/second")
	}
	var held []net.Listener
	var errs []error
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			errs = append(errs, err)
			break
		}
		held = append(held, l)
		if addr, ok := l.Addr().(*net.TCPAddr); ok {
			s.ports[name] = addr.Port
		}
	}
	for _, l := range held {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

func (s *Suite) addr(name string) string { return fmt.Sprintf("127.0.0.1:%d", s.ports[name]) }

// URL is where a service's process answers.
func (s *Suite) URL(service string) string { return "http://" + s.addr(service) }

// all processes that are wanted, the second instances too.
func (s *Suite) all() []*Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Process
	for _, p := range s.procs {
		all = append(all, p)
	}
	for _, p := range s.second {
		all = append(all, p)
	}
	return all
}

// Orphans are processes that are nobody's any more: left by one that was killed.
func (s *Suite) Orphans(within time.Duration) ([]string, error) {
	deadline := time.Now().Add(within)
	for {
		known := s.known()
		reap(known)
		pids, err := children()
		if err != nil {
			return nil, err
		}
		var found []string
		for _, pid := range pids {
			if !known[pid] {
				found = append(found, fmt.Sprintf("%d %s", pid, commandLine(pid)))
			}
		}
		if len(found) == 0 || time.Now().After(deadline) {
			return found, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// reap collects dead orphans, as a machine's first process does: one that stays
// would be taken for alive by whoever knows its number.
func (s *Suite) reap() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			reap(s.known())
		case <-s.stopReaping:
			return
		}
	}
}

func (s *Suite) known() map[int]bool {
	known := map[int]bool{}
	for _, p := range s.all() {
		known[p.PID()] = true
	}
	return known
}

func (s *Suite) lastLines() string {
	var b strings.Builder
	for _, p := range s.all() {
		fmt.Fprintf(&b, "%s: %s\n", p.Name, p.lastLine())
	}
	return b.String()
}

// Stop ends everything in order, services first, and says what took too long.
func (s *Suite) Stop() error {
	var mu sync.Mutex
	var errs []error
	down := func(names []string) {
		var all sync.WaitGroup
		for _, p := range s.all() {
			for _, name := range names {
				if p.Name == name || strings.HasPrefix(p.Name, name+"/") {
					all.Go(func() {
						if _, err := p.Down(syscall.SIGTERM, stopWithin); err != nil {
							mu.Lock()
							errs = append(errs, err)
							mu.Unlock()
						}
					})
				}
			}
		}
		all.Wait()
	}
	down(s.o.Services)
	if s.kafka != nil {
		s.kafka.Close()
	}
	if s.nats != nil {
		s.nats.Close()
	}
	if s.db != nil {
		s.db.Close()
	}
	down(Servers)
	for _, l := range s.links {
		l.cut()
	}
	close(s.stopReaping)
	for _, d := range s.disks {
		errs = append(errs, d.Unmount())
	}
	return errors.Join(errs...)
}

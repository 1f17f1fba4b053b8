package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/testkit/apachekafka"
	"github.com/freshet-io/freshet/libs/testkit/disk"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Services are the suite's, each a binary of this name.
var Services = []string{"audit", "ingestion", "feature-store", "training", "registry", "deployment", "monitoring", "console"}

// Servers are what services need.
var Servers = []string{"nats", "kafka", "postgres"}

// Options of a suite of processes.
type Options struct {
	Dir      string // empty and its own
	Binaries string // directory of the services' binaries
	Self     string // this program, which also serves nats, kafka and postgres
	Inside   bool   // namespaces of its own: disks may be mounted
	Kafka    Kafka
	Users    string // file with the log's users, as freshet nats-users prints them; all may do everything where there is none
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

// stopWithin is what a service's stop may take.
const stopWithin = 30 * time.Second

// Start starts everything and returns when it is ready.
func Start(ctx context.Context, o Options) (*Suite, error) {
	s := &Suite{o: o, procs: map[string]*Process{}, links: map[string]*link{}, disks: map[string]*disk.Disk{}, ports: map[string]int{},
		second: map[string]*Process{}, http: &http.Client{Timeout: 20 * time.Second}, stopReaping: make(chan struct{})}
	go s.reap()
	for _, name := range Services {
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
		return fmt.Errorf("the servers: %w\n%s", err, s.lastWords())
	}
	for _, name := range Services {
		s.procs[name] = newProcess(name, s.logs(), filepath.Join(s.o.Binaries, name), func() []string { return s.environment(name, name) })
		s.procs[name].Up()
	}
	if err := s.Ready(starting); err != nil {
		return fmt.Errorf("%w\n%s", err, s.lastWords())
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
	for _, name := range Services {
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

// connect waits for the servers and opens the harness's own connections.
func (s *Suite) connect(ctx context.Context) error {
	var last error
	try := func(fn func() error) error {
		for {
			if last = fn(); last == nil {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ctx.Err(), last)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	err := try(func() error {
		direct, _, err := s.postgresURLs()
		if err != nil {
			return err
		}
		if s.db == nil {
			if s.db, err = pgxpool.New(ctx, direct); err != nil {
				return err
			}
		}
		return s.db.Ping(ctx)
	})
	if err != nil {
		return err
	}
	err = try(func() error {
		u, err := s.natsURL("admin", "nats")
		if err != nil {
			return err
		}
		if s.nats == nil {
			if s.nats, err = nats.Connect(u, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.Name("chaos")); err != nil {
				return err
			}
			if s.js, err = jetstream.New(s.nats); err != nil {
				return err
			}
		}
		_, err = epoch.Current(ctx, s.js)
		return err
	})
	if err != nil {
		return err
	}
	// The broker tells its clients to come through the link.
	s.kafka = kafka.New(s.addr("kafka/link"))
	return try(func() error { return ensureTopics(ctx, s.addr("kafka/link")) })
}

func (s *Suite) postgresURLs() (direct, linked string, err error) {
	b, err := os.ReadFile(filepath.Join(s.o.Dir, "postgres", "url"))
	if err != nil {
		return "", "", err
	}
	u, err := url.Parse(strings.TrimSpace(string(b)))
	if err != nil {
		return "", "", err
	}
	direct = u.String()
	u.Host = s.addr("postgres/link")
	return direct, u.String(), nil
}

func (s *Suite) natsURL(user, port string) (string, error) {
	b, err := os.ReadFile(filepath.Join(s.o.Dir, "nats", "secrets.json"))
	if err != nil {
		return "", err
	}
	secrets := map[string]string{}
	if err := json.Unmarshal(b, &secrets); err != nil {
		return "", err
	}
	if secrets[user] == "" {
		return "", fmt.Errorf("the log's server has no user %s", user)
	}
	u := url.URL{Scheme: "nats", Host: s.addr(port), User: url.UserPassword(user, secrets[user])}
	return u.String(), nil
}

// environment is what a service's process reads; instance names its port and its
// directory.
func (s *Suite) environment(service, instance string) []string {
	_, postgres, err := s.postgresURLs()
	if err != nil {
		postgres = ""
	}
	log, err := s.natsURL(service, "nats/link")
	if err != nil {
		log = ""
	}
	return append(os.Environ(),
		"FRESHET_POSTGRES_URL="+postgres,
		"FRESHET_NATS_URL="+log,
		"FRESHET_ATTESTED=true",
		"FRESHET_KAFKA="+s.addr("kafka/link"),
		"FRESHET_OBJECTS="+filepath.Join(s.o.Dir, "objects"),
		"FRESHET_DATA_DIR="+filepath.Join(s.o.Dir, "data", strings.ReplaceAll(instance, "/", "-")),
		"FRESHET_LISTEN="+s.addr(instance),
		"FRESHET_URL="+s.URL("feature-store"), // only its routes are asked for
		"FRESHET_CLOCK_STEPS="+s.clockFile(service),
		"FRESHET_LOG_LEVEL=warn",
		"GOMAXPROCS=2",
	)
}

// clockFile is what a service's clock is stepped by.
func (s *Suite) clockFile(service string) string { return filepath.Join(s.o.Dir, "clocks", service) }

// A status is what /statusz says, as far as it matters here.
type status struct {
	Service  string           `json:"service"`
	Position uint64           `json:"position"`
	End      uint64           `json:"end"`
	Behind   map[string]int64 `json:"behind"`
	Settled  bool             `json:"settled"`
	Error    string           `json:"error"`
}

func (s *Suite) status(ctx context.Context, instance string) (status, error) {
	var st status
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return st, s.get(ctx, s.URL(instance)+"/statusz", &st)
}

func (s *Suite) get(ctx context.Context, url string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	if res.StatusCode/100 != 2 {
		why, _ := io.ReadAll(io.LimitReader(res.Body, 2<<10))
		return fmt.Errorf("%s: %s: %s", url, res.Status, bytes.TrimSpace(why))
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// Ready waits until every service says that it is. Where one never does, the suite is
// ended, and tells what it waited for.
func (s *Suite) Ready(ctx context.Context) error {
	for _, name := range Services {
		for {
			var told any
			err := s.get(ctx, s.URL(name)+"/readyz", &told)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return errors.Join(fmt.Errorf("%s is not ready: %w", name, err), s.unready(context.WithoutCancel(ctx)))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// unready says why services are not ready, and ends all, since one may wait for another,
// with their goroutines in their logs.
func (s *Suite) unready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var errs []error
	for _, name := range Services {
		var told any
		if err := s.get(ctx, s.URL(name)+"/readyz", &told); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range Services {
		s.procs[name].Signal(syscall.SIGQUIT)
	}
	sleep(ctx, time.Second) // for them to write
	return errors.Join(errs...)
}

// Settle waits until no service has anything left to do.
func (s *Suite) Settle(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last []string
	for quiet := 0; quiet < 2; {
		last = last[:0]
		end, err := s.end(ctx)
		if err != nil {
			last = append(last, "the log: "+err.Error())
		}
		for _, name := range Services {
			st, err := s.status(ctx, name)
			switch {
			case err != nil:
				last = append(last, name+": "+err.Error())
			case !st.Settled || st.Position != end:
				last = append(last, fmt.Sprintf("%s: at %d of %d, behind %v %s", name, st.Position, end, st.Behind, st.Error))
			}
		}
		if quiet++; len(last) > 0 {
			quiet = 0
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not settled within %s: %s", within, strings.Join(last, "; "))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (s *Suite) end(ctx context.Context) (uint64, error) {
	name, err := epoch.Current(ctx, s.js)
	if err != nil {
		return 0, err
	}
	stream, err := s.js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

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

func (s *Suite) lastWords() string {
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
	down(Services)
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

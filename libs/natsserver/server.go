// Package natsserver runs the log's server in this process: nats-server with
// JetStream on disk, every write synced before it is acknowledged, on loopback.
//
// It guarantees that what was acknowledged survives a kill; that every user has a
// random secret, kept in the data directory for its owner only, and may publish
// and subscribe to what the caller listed and nothing else (allow-lists, never
// deny-lists); that there is no user without a password, no WebSocket, no MQTT, no
// monitoring port; that a store which could not write recovers when its disk has
// free space: the server is restarted in place, and what it had acknowledged is there;
// and that Stop returns once the store is closed. Clients are closed before it.
package natsserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	startTimeout = 60 * time.Second // recovery of a long log
	startPoll    = 100 * time.Millisecond
	maxPayload   = 8 << 20
	answerWithin = time.Minute
	maxMemory    = 64 << 20
	reserve      = 1 << 30 // of the disk, never filled by streams
)

// A User and what it may do.
type User struct {
	Name      string
	Publish   []string
	Subscribe []string
	Answers   bool // it may answer requests
}

// All may publish and subscribe to everything.
func All(name string) User { return User{Name: name, Publish: []string{">"}, Subscribe: []string{">"}} }

// Options of a server.
type Options struct {
	DataDir string
	Port    int // 0 for any free one
	Users   []User
	Logger  *slog.Logger
}

// Server is a running server.
type Server struct {
	o       Options // its port is the one that it got, its logger is there
	secrets map[string]string
	store   int64
	addr    string
	running atomic.Pointer[server.Server]
	cancel  context.CancelFunc
	watched chan struct{} // closed when the watch has ended
	once    sync.Once
}

// Start starts the server and recovers what its data directory holds.
func Start(o Options) (*Server, error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("the log's data directory: %w", err)
	}
	secrets, err := readSecrets(filepath.Join(o.DataDir, "secrets.json"), o.Users)
	if err != nil {
		return nil, err
	}
	store, err := maxStore(o.DataDir)
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, secrets: secrets, store: store, watched: make(chan struct{})}
	if o.Logger == nil {
		s.o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Port == 0 {
		s.o.Port = server.RANDOM_PORT
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	first, err := s.launch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s.running.Store(first)
	s.addr = first.Addr().String()
	if addr, ok := first.Addr().(*net.TCPAddr); ok {
		s.o.Port = addr.Port
	}
	go s.watch(ctx)
	return s, nil
}

// launch starts a nats-server and returns when it takes connections.
func (s *Server) launch(ctx context.Context) (*server.Server, error) {
	options := &server.Options{
		ServerName: "freshet", Host: "127.0.0.1", Port: s.o.Port,
		JetStream: true, StoreDir: s.o.DataDir, SyncAlways: true,
		JetStreamMaxMemory: maxMemory, JetStreamMaxStore: s.store,
		MaxPayload: maxPayload, MaxPending: 64 << 20, WriteDeadline: 10 * time.Second,
		NoSigs: true, DisableJetStreamBanner: true, NoSystemAccount: false,
	}
	for _, u := range s.o.Users {
		may := &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: u.Publish},
			Subscribe: &server.SubjectPermission{Allow: u.Subscribe},
		}
		if u.Answers {
			may.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: answerWithin}
		}
		options.Users = append(options.Users, &server.User{Username: u.Name, Password: s.secrets[u.Name], Permissions: may})
	}
	n, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("starting the embedded NATS: %w", err)
	}
	lines := &natsLogger{logger: s.o.Logger, fatal: make(chan string, 1)}
	n.SetLoggerV2(lines, false, false, false)
	n.Start()
	if err := awaitReady(ctx, n, lines.fatal); err != nil {
		n.Shutdown()
		n.WaitForShutdown()
		return nil, fmt.Errorf("starting the embedded NATS: %w", err)
	}
	return n, nil
}

// awaitReady waits until the server takes connections or says why it never will.
func awaitReady(ctx context.Context, s *server.Server, fatal <-chan string) error {
	for began := time.Now(); time.Since(began) < startTimeout; {
		if s.ReadyForConnections(startPoll) {
			if !s.JetStreamEnabled() {
				return errors.New("the store is not enabled")
			}
			return nil
		}
		select {
		case msg := <-fatal:
			if strings.Contains(msg, syscall.EADDRINUSE.Error()) {
				return fmt.Errorf("%s: %w", msg, syscall.EADDRINUSE)
			}
			return errors.New(msg)
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
	}
	return fmt.Errorf("the server is not ready after %s", startTimeout)
}

// URL is a user's connection string, secret included.
func (s *Server) URL(user string) string {
	u := url.URL{Scheme: "nats", Host: s.addr, User: url.UserPassword(user, s.secrets[user])}
	return u.String()
}

// MaxStore is how many bytes its streams may hold.
func (s *Server) MaxStore() int64 { return s.store }

// Addr is where it listens.
func (s *Server) Addr() string { return s.addr }

// Healthy is nil when the server and its store work.
func (s *Server) Healthy() error {
	h := s.running.Load().Healthz(&server.HealthzOptions{})
	if h.StatusCode != 200 {
		return fmt.Errorf("the embedded NATS is unhealthy: %s", h.Error)
	}
	return nil
}

// Store is how many bytes its streams use, and how many they may use.
func (s *Server) Store() (used, limit int64, err error) {
	info, err := s.running.Load().Jsz(nil)
	if err == nil && info.Disabled {
		err = errors.New("the store is not enabled")
	}
	if err != nil {
		return 0, s.store, fmt.Errorf("the embedded NATS: %w", err)
	}
	return int64(info.Store), s.store, nil //nolint:gosec // bytes on a disk
}

// Stop closes the server and its store.
func (s *Server) Stop() {
	s.once.Do(func() {
		s.cancel()
		<-s.watched
		s.running.Load().Shutdown()
		s.running.Load().WaitForShutdown()
	})
}

// readSecrets reads the users' secrets and adds those of new users.
func readSecrets(path string, users []User) (map[string]string, error) {
	secrets := map[string]string{}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &secrets)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the log's secrets: %w", err)
	}
	added := false
	for _, u := range users {
		if secrets[u.Name] == "" {
			secrets[u.Name], added = rand.Text(), true
		}
	}
	if !added {
		return secrets, nil
	}
	if b, err = json.MarshalIndent(secrets, "", "  "); err != nil {
		return nil, fmt.Errorf("the log's secrets: %w", err)
	}
	if err := replace(path, b); err != nil {
		return nil, fmt.Errorf("the log's secrets: %w", err)
	}
	return secrets, nil
}

func replace(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// natsLogger gives the server's own lines to slog.
type natsLogger struct {
	logger *slog.Logger
	fatal  chan string
}

func (l *natsLogger) Noticef(format string, v ...any) { l.logger.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLogger) Errorf(format string, v ...any)  { l.logger.Error(fmt.Sprintf(format, v...)) }
func (l *natsLogger) Debugf(format string, v ...any)  { l.logger.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLogger) Tracef(format string, v ...any)  { l.logger.Debug(fmt.Sprintf(format, v...)) }

// Warnf leaves out that passwords are not hashed: these are random, long, and
// readable by the server's user only.
func (l *natsLogger) Warnf(format string, v ...any) {
	if msg := fmt.Sprintf(format, v...); !strings.HasPrefix(msg, "Plaintext passwords detected") {
		l.logger.Warn(msg)
	}
}

func (l *natsLogger) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	select {
	case l.fatal <- msg:
	default:
	}
}

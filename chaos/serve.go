package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/postgres"
	"github.com/freshet-io/freshet/libs/testkit/apachekafka"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// topics are Kafka's, as the suite makes them.
var topics = []string{"freshet.in", pushTopic, inferenceTopic, "freshet.events"}

// Serve is a process that is one of the suite's servers: the same code that the suite
// embeds, or Apache Kafka. It returns after SIGINT or SIGTERM.
func Serve(args []string) error {
	if len(args) == 0 {
		return errors.New("serve takes nats, kafka or postgres")
	}
	flags := flag.NewFlagSet("serve "+args[0], flag.ContinueOnError)
	dir := flags.String("dir", "", "data directory")
	port := flags.Int("port", 0, "port to listen on")
	advertise := flags.String("advertise", "", "address that clients are told to use")
	users := flags.String("users", "", "file with the log's users")
	which := flags.String("kafka", string(Embedded), "which Kafka")
	controller := flags.String("controller", "", "address that Apache Kafka uses for itself")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "kafka" && Kafka(*which) == Apache {
		return become(*dir, *port, *advertise, *controller)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	end, err := serve(ctx, args[0], *dir, *port, *advertise, *users, logger)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return end()
}

func serve(ctx context.Context, what, dir string, port int, advertise, usersFile string, logger *slog.Logger) (end func() error, err error) {
	switch what {
	case "nats":
		users, err := readUsers(usersFile)
		if err != nil {
			return nil, err
		}
		s, err := natsserver.Start(natsserver.Options{DataDir: dir, Port: port, Users: users, Logger: logger})
		if err != nil {
			return nil, err
		}
		end = func() error { s.Stop(); return nil }
		return end, orEnd(prepareLog(ctx, s), end)
	case "kafka":
		s, err := kafkaserver.Start(kafkaserver.Options{DataDir: dir, Port: port, Copies: []string{archive.Topic}, Advertise: advertise, Logger: logger})
		if err != nil {
			return nil, err
		}
		return func() error { s.Stop(); return nil }, nil
	case "postgres":
		s, err := postgres.Start(ctx, postgres.Options{DataDir: dir, Logger: logger, Settings: []string{
			"listen_addresses=127.0.0.1", fmt.Sprintf("port=%d", port), "max_connections=300",
		}})
		if err != nil {
			return nil, err
		}
		end = func() error { return s.Stop(context.Background()) }
		return end, orEnd(writeURL(s, dir, port), end)
	}
	return nil, fmt.Errorf("serve takes nats, kafka or postgres, not %q", what)
}

func orEnd(err error, end func() error) error {
	if err != nil {
		return errors.Join(err, end())
	}
	return nil
}

// become makes this process Apache Kafka's.
func become(dir string, port int, advertise, controller string) error {
	install, err := apachekafka.Find()
	if err != nil {
		return err
	}
	b := apachekafka.Broker{Install: install, Dir: dir, Listen: fmt.Sprintf("127.0.0.1:%d", port), Advertise: advertise, Controller: controller}
	if err := b.Prepare(); err != nil {
		return err
	}
	return b.Become()
}

// readUsers reads what each of the log's users may do.
func readUsers(path string) (all []natsserver.User, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(b, &all)
	return all, err
}

func prepareLog(ctx context.Context, s *natsserver.Server) error {
	nc, err := nats.Connect(s.URL("admin"))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	// Only a first epoch is made here, as the suite does: the rest is audit's.
	if _, err := attest.Current(ctx, js); !errors.Is(err, attest.ErrNone) {
		return err
	}
	return eventlog.EnsureStream(ctx, nc, attest.Stream(1))
}

// writeURL leaves the connection string by TCP for the others to read.
func writeURL(s *postgres.Server, dir string, port int) error {
	u, err := url.Parse(s.URL())
	if err != nil {
		return err
	}
	u.Host, u.RawQuery = fmt.Sprintf("127.0.0.1:%d", port), "sslmode=disable"
	path := filepath.Join(dir, "url")
	if old, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(old)) == u.String() {
		return nil
	}
	if err := os.WriteFile(path+".new", []byte(u.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// ensureTopics makes the topics as the suite does when it starts.
func ensureTopics(ctx context.Context, addr string) error {
	client := kafka.New(addr)
	defer client.Close()
	for _, topic := range topics {
		if err := client.Ensure(ctx, topic, 1); err != nil {
			return err
		}
	}
	return nil
}

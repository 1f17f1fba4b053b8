package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/kafkaserver"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/postgres"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/ingestion"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// Stream is the log's name in its first epoch.
	Stream = "FRESHET_1"

	adminUser    = "admin"
	producerUser = "producer"
)

// topics are Kafka's, one partition each: their order is what their readers rest on.
var topics = []string{"freshet.in", "freshet.features", "freshet.inference", "freshet.events"}

// Infrastructure is what services need: PostgreSQL, the log's server, Kafka.
type Infrastructure struct {
	dir    string
	logger *slog.Logger
	lock   io.Closer

	postgres *postgres.Server
	nats     *natsserver.Server
	kafka    *kafkaserver.Server
	ports    ports
	admin    *nats.Conn
}

// StartInfrastructure locks a data directory and starts its servers.
func StartInfrastructure(ctx context.Context, dir string, logger *slog.Logger) (*Infrastructure, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	i := &Infrastructure{dir: dir, logger: logger, lock: lock}
	if err := i.start(ctx); err != nil {
		return nil, errors.Join(err, i.Stop(context.WithoutCancel(ctx)))
	}
	return i, nil
}

func (i *Infrastructure) start(ctx context.Context) error {
	var err error
	if i.ports, err = readPorts(i.dir); err != nil {
		return err
	}
	var all sync.WaitGroup
	errs := make([]error, 3)
	all.Go(func() {
		i.postgres, errs[0] = postgres.Start(ctx, postgres.Options{
			DataDir: i.dir, URL: os.Getenv("FRESHET_POSTGRES_URL"), Logger: i.logger.With("server", "postgres"),
		})
	})
	all.Go(func() {
		errs[1] = onFreePort(&i.ports.NATS, func(port int) (err error) {
			i.nats, err = natsserver.Start(natsserver.Options{
				DataDir: filepath.Join(i.dir, "nats"), Port: port, Users: Users(), Logger: i.logger.With("server", "nats"),
			})
			return err
		})
		if errs[1] == nil {
			errs[1] = i.streams(ctx)
		}
	})
	all.Go(func() {
		errs[2] = onFreePort(&i.ports.Kafka, func(port int) (err error) {
			i.kafka, err = kafkaserver.Start(kafkaserver.Options{
				DataDir: filepath.Join(i.dir, "kafka"), Port: port, Copies: []string{archive.Topic}, Logger: i.logger.With("server", "kafka"),
			})
			return err
		})
		if errs[2] == nil {
			errs[2] = ensureTopics(ctx, i.kafka.Addr())
		}
	})
	all.Wait()
	return errors.Join(append(errs, i.ports.write(i.dir))...)
}

func (i *Infrastructure) streams(ctx context.Context) error {
	var err error
	i.admin, err = nats.Connect(i.nats.URL(adminUser), nats.Name("freshet"), nats.MaxReconnects(-1),
		nats.CustomInboxPrefix(natsserver.InboxPrefix(adminUser)))
	if err != nil {
		return fmt.Errorf("connecting to the embedded NATS: %w", err)
	}
	js, err := jetstream.New(i.admin)
	if err != nil {
		return err
	}
	// Only a first epoch is made here: whether the log that is there, or none, may be
	// continued, is audit's to attest.
	if _, err := attest.Current(ctx, js); errors.Is(err, attest.ErrNone) {
		err = eventlog.EnsureStream(ctx, i.admin, Stream)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := ingestion.EnsureStream(ctx, js, min(8<<30, i.nats.MaxStore()/4)); err != nil {
		return fmt.Errorf("the stream for outside producers: %w", err)
	}
	return nil
}

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

const (
	guardian = "audit"     // attests the log, opens its epochs and trims it
	intake   = "ingestion" // reads what outside producers publish
)

// Users are the log's: each service publishes only its own events, the log guardian writes
// the first events of a new epoch, and the intake has a stream of its own.
func Users() []natsserver.User {
	all := []natsserver.User{
		natsserver.All(adminUser),
		{Name: producerUser, Publish: []string{"freshet-in.>"}, Subscribe: []string{"_INBOX.>"}},
	}
	for _, name := range Names() {
		u := natsserver.User{
			Name:      name,
			Publish:   slices.Concat(natsserver.ReadStream("*"), events.PublishSubjects(name), []string{"freshet-hint.>", attest.Subject}),
			Subscribe: []string{natsserver.InboxPrefix(name) + ".>", "freshet-hint.>"},
		}
		if name == intake { // makes its stream again on a server that has lost it
			u.Publish = append(u.Publish, "$JS.API.STREAM.CREATE."+ingestion.InStream, "$JS.API.STREAM.CREATE."+ingestion.NoStream)
		}
		if name == guardian {
			u.Publish = slices.Concat(u.Publish, natsserver.KeepStreams(), []string{"freshet.>"})
			u.Subscribe = append(u.Subscribe, attest.Subject)
			u.Answers = true
		}
		all = append(all, u)
	}
	return all
}

// KafkaAddr is where Kafka listens.
func (i *Infrastructure) KafkaAddr() string { return i.kafka.Addr() }

// PostgresURL is PostgreSQL's connection string.
func (i *Infrastructure) PostgresURL() string { return i.postgres.URL() }

func (i *Infrastructure) objects() string { return filepath.Join(i.dir, "objects") }

// Environment is what a single service's process reads.
func (i *Infrastructure) Environment(name, listen, url, token string) []string {
	auth := service.AuthToken
	if token == "" {
		auth = service.AuthNone
	}
	return []string{
		"FRESHET_AUTH=" + auth,
		"FRESHET_TOKEN=" + token,
		"FRESHET_POSTGRES_URL=" + i.postgres.URL(),
		"FRESHET_NATS_URL=" + i.nats.URL(name),
		"FRESHET_KAFKA=" + i.kafka.Addr(),
		"FRESHET_OBJECTS=" + i.objects(),
		"FRESHET_DATA_DIR=" + i.dir,
		"FRESHET_LISTEN=" + listen,
		"FRESHET_URL=" + url,
	}
}

// WriteEnvironments writes DIR/env/<service>.env for every service, for its
// owner's eyes only, and returns their directory. Listen says where each listens.
func (i *Infrastructure) WriteEnvironments(listen map[string]string, url, token string) (string, error) {
	dir := filepath.Join(i.dir, "env")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(slices.Values(Names())) {
		var b strings.Builder
		for _, line := range i.Environment(name, listen[name], url, token) {
			key, value, _ := strings.Cut(line, "=")
			fmt.Fprintf(&b, "export %s='%s'\n", key, strings.ReplaceAll(value, "'", `'\''`))
		}
		if err := os.WriteFile(filepath.Join(dir, name+".env"), []byte(b.String()), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// end returns the log's last sequence.
func (i *Infrastructure) end(ctx context.Context) (uint64, error) {
	js, err := jetstream.New(i.admin)
	if err != nil {
		return 0, err
	}
	name, err := attest.Current(ctx, js)
	if err != nil {
		return 0, err
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// Stop stops the servers in reverse and releases the data directory.
func (i *Infrastructure) Stop(ctx context.Context) error {
	var err error
	if i.admin != nil {
		i.admin.Close()
	}
	if i.kafka != nil {
		i.kafka.Stop()
	}
	if i.nats != nil {
		i.nats.Stop()
	}
	if i.postgres != nil {
		err = i.postgres.Stop(ctx)
	}
	return errors.Join(err, i.lock.Close())
}

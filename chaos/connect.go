package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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
		_, err = attest.Current(ctx, s.js)
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
		"FRESHET_TOKEN="+token,
		"FRESHET_CLOCK_STEPS="+s.clockFile(service),
		"FRESHET_LOG_LEVEL=warn",
		"GOMAXPROCS=2",
	)
}

// clockFile is what a service's clock is stepped by.
func (s *Suite) clockFile(service string) string { return filepath.Join(s.o.Dir, "clocks", service) }

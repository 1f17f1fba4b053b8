package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
)

// Schemas are the names of a service's schemas: the fold's, which a rebuild
// replaces, the outbox' and inbox', and the data tables'.
func Schemas(service string) (fold, io, data string) {
	name := strings.ReplaceAll(service, "-", "_")
	return name, name + "_io", name + "_data"
}

// connections of a service to PostgreSQL.
const (
	maxConns     = 10
	connIdle     = 15 * time.Second
	natsPause    = 100 * time.Millisecond
	natsPing     = 10 * time.Second
	natsOutgoing = 8 << 20
)

func (s *Service) connect(ctx context.Context) (err error) {
	if err := s.o.Paths.prepare(); err != nil {
		return fmt.Errorf("directories: %w", err)
	}
	if s.pool, err = openPool(ctx, s.o); err != nil {
		return err
	}
	if s.nats, err = s.dial(); err != nil {
		return err
	}
	s.kafka = kafka.New(s.o.Kafka...)
	s.objects, err = objects.Open(ctx, s.o.Objects)
	return err
}

func openPool(ctx context.Context, o Options) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(o.Postgres)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL's connection string: %w", err)
	}
	fold, io, data := Schemas(o.Name)
	config.ConnConfig.RuntimeParams["search_path"] = fmt.Sprintf(`"%s","%s","%s"`, fold, data, io)
	config.ConnConfig.RuntimeParams["application_name"] = eventlog.SessionName(o.Name)
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	config.MaxConns, config.MinConns, config.MaxConnIdleTime = maxConns, 0, connIdle
	config.HealthCheckPeriod = connIdle / 3
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	return pool, nil
}

// dial connects to the log's server, and reconnects whenever the connection is lost.
func (s *Service) dial() (*nats.Conn, error) {
	nc, err := nats.Connect(s.o.NATS,
		nats.Name("freshet-"+s.o.Name),
		nats.CustomInboxPrefix(natsserver.InboxPrefix(s.o.Name)),
		nats.MaxReconnects(-1), nats.ReconnectWait(natsPause), nats.ReconnectBufSize(natsOutgoing),
		nats.PingInterval(natsPing), nats.MaxPingsOutstanding(2), nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				s.logger.Warn("the log's server is unavailable", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { s.logger.Info("the log's server is available again") }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrConnectionClosed) {
				return
			}
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			s.logger.Warn("the log's server reported an error", "error", err, "subject", subject)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("connecting to the log's server: %w", err)
	}
	return nc, nil
}

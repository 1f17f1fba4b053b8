package lead

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A LogSession is a connection to one process of the log's server, with the stream that
// may continue there. Everything that publishes or applies does it through a
// session, so that it ends when that server process does: the next one may have an
// older copy of the log.
type LogSession struct {
	Conn     *nats.Conn
	JS       jetstream.JetStream
	Server   string
	Stream   string
	Created  time.Time // when the stream was made
	Archived uint64    // the archive holds the log up to here, when last heard
	Kept     bool      // what was applied beyond that is remembered
	Lost     chan struct{}
}

var (
	// ErrUnavailable: the process of the log's server that this session is bound to has ended.
	ErrUnavailable = errors.New("the log's server is unavailable")
	// ErrReplaced: the stream is another one than was attested.
	ErrReplaced  = errors.New("the log's stream is another one than was attested")
	errNoSession = errors.New("the log is not attested yet")
)

// Gone says whether the server process has ended.
func (k *LogSession) Gone() bool {
	select {
	case <-k.Lost:
		return true
	default:
		return false
	}
}

// Epoch is the number of the epoch that is read, as positions have it.
func (k *LogSession) Epoch() string { return strconv.Itoa(attest.Number(k.Stream)) }

// Close ends the connection.
func (k *LogSession) Close() { k.Conn.Close() }

// Info asks for the stream's state, and makes sure that it is still the one.
func (k *LogSession) Info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if k.Gone() {
		return nil, ErrUnavailable
	}
	s, err := k.JS.Stream(ctx, k.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: there is no %s", ErrReplaced, k.Stream)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", k.Stream, err)
	}
	info := s.CachedInfo()
	if !info.Created.Equal(k.Created) {
		return nil, fmt.Errorf("%w: %s was made again", ErrReplaced, k.Stream)
	}
	return info, nil
}

// Bounds are the first and last sequence of the log.
func (k *LogSession) Bounds(ctx context.Context) (first, last uint64, err error) {
	info, err := k.Info(ctx)
	if err != nil {
		return 0, 0, err
	}
	return info.State.FirstSeq, info.State.LastSeq, nil
}

// Has says whether the log has messages under subjects, also such as cannot be read.
func (k *LogSession) Has(ctx context.Context, subjects string) (bool, error) {
	s, err := k.JS.Stream(ctx, k.Stream)
	if err != nil {
		return false, fmt.Errorf("stream %s: %w", k.Stream, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subjects))
	if err != nil {
		return false, fmt.Errorf("stream %s: %w", k.Stream, err)
	}
	return len(info.State.Subjects) > 0, nil
}

package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/libs/epoch"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A link is a connection to one process of the log's server, with the stream that
// may be gone on with there. Everything that publishes or applies does it through a
// link, so that it ends when that server process does: the next one may have an
// older copy of the log.
type link struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	server   string
	stream   string
	created  time.Time // when the stream was made
	archived uint64    // the archive holds the log up to here, when last heard
	kept     bool      // what was applied beyond that is remembered
	lost     chan struct{}
}

var (
	errAway   = errors.New("the log's server is away")
	errOther  = errors.New("the log's stream is another one than was attested")
	errNoLink = errors.New("the log is not attested yet")
)

// gone says whether the server process has ended.
func (k *link) gone() bool {
	select {
	case <-k.lost:
		return true
	default:
		return false
	}
}

func (k *link) number() string { return strconv.Itoa(epoch.Number(k.stream)) }

func (k *link) close() { k.nc.Close() }

// info asks for the stream's state, and makes sure that it is still the one.
func (k *link) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if k.gone() {
		return nil, errAway
	}
	s, err := k.js.Stream(ctx, k.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: there is no %s", errOther, k.stream)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", k.stream, err)
	}
	info := s.CachedInfo()
	if !info.Created.Equal(k.created) {
		return nil, fmt.Errorf("%w: %s was made anew", errOther, k.stream)
	}
	return info, nil
}

// at is the link that the process has, or an error.
func (l *Log) at() (*link, error) {
	k := l.link.Load()
	if k == nil {
		return nil, errNoLink
	}
	if k.gone() {
		return nil, errAway
	}
	return k, nil
}

// epoch is the number of the epoch that is read, as positions have it.
func (l *Log) epoch() string {
	if k := l.link.Load(); k != nil {
		return k.number()
	}
	return ""
}

// Stream is the name of the current epoch's stream; empty before the log was found.
func (l *Log) Stream() string {
	if k := l.link.Load(); k != nil {
		return k.stream
	}
	return ""
}

// While runs work as long as the log is attested here, and again whenever it is
// anew, also in its next epoch, until the context or the work ends. It is for who
// reads the log beside the fold.
func (l *Log) While(ctx context.Context, work func(ctx context.Context) error) error {
	for {
		k, err := l.at()
		if err != nil {
			if err := pauseFor(ctx, reportAgain); err != nil {
				return err
			}
			continue
		}
		held, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-k.lost:
				cancel()
			case <-held.Done():
			}
		}()
		err = work(held)
		lapsed := held.Err() != nil
		cancel()
		if ctx.Err() != nil || !lapsed {
			return err
		}
	}
}

// enter connects to the log's server and returns once the log there may be gone on
// with. The position in the database must not move meanwhile: who leads calls it
// before it applies anything, who does not only follows.
func (l *Log) enter(ctx context.Context, leads bool) (*link, error) {
	lost := make(chan struct{})
	nc, err := epoch.Dial(l.nc, func() { close(lost) })
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAway, err)
	}
	k := &link{nc: nc, server: epoch.Server(nc), lost: lost}
	if k.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, err
	}
	if l.attested {
		err = l.await(ctx, k, leads)
	} else {
		err = l.find(ctx, k)
	}
	if err == nil {
		_, err = k.info(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	if old := l.link.Swap(k); old != nil {
		old.close()
	}
	return k, nil
}

// find takes the newest stream, where no audit attests: what this service applied
// is then all that the log is held against.
func (l *Log) find(ctx context.Context, k *link) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	name, err := epoch.Current(ctx, k.js)
	if err != nil {
		return err
	}
	s, err := k.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	k.stream, k.created = name, s.CachedInfo().Created
	return nil
}

const (
	reportEvery   = 2 * time.Second        // while it runs
	reportAgain   = 100 * time.Millisecond // while it waits
	reportTimeout = 2 * time.Second
	reportPage    = 4000 // entries of the tail in a report
)

// await reports until audit attests the log, and gives what audit wants for it.
func (l *Log) await(ctx context.Context, k *link, leads bool) error {
	var answer epoch.Answer
	for {
		report, err := l.report(ctx, k, leads, answer)
		if err != nil {
			return err
		}
		answer, err = ask(ctx, k, report)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case k.gone():
			return errAway
		case errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded):
			l.setTrouble(troubleSession, errors.New("the log waits for its attestation, and audit does not answer: start it, or set FRESHET_ATTESTED=false where there is none"))
			answer = epoch.Answer{}
		case err != nil:
			return err
		case answer.Attested:
			k.stream, k.created, k.archived, k.kept = answer.Stream, answer.Created, answer.Archived, answer.Kept
			return nil
		case answer.WantTail || len(answer.Want) > 0:
			continue
		case answer.Alarm:
			l.setTrouble(troubleSession, &alarm{fmt.Errorf("the log is not attested: %s", answer.Wait)})
		default:
			l.setTrouble(troubleSession, fmt.Errorf("the log is not attested yet: %s", answer.Wait))
		}
		if err := pauseFor(ctx, reportAgain); err != nil {
			return err
		}
	}
}

// report says what the database has, and what the answer before wanted.
func (l *Log) report(ctx context.Context, k *link, leads bool, wanted epoch.Answer) (epoch.Report, error) {
	r := epoch.Report{Service: l.service, Server: k.server, Follows: !leads}
	if !leads {
		return r, nil
	}
	if err := l.reportPosition(ctx, &r); err != nil {
		return r, err
	}
	if wanted.WantTail {
		if err := l.reportTail(ctx, &r, wanted.TailAfter); err != nil {
			return r, err
		}
	}
	if len(wanted.Want) > 0 {
		if err := l.reportEvents(ctx, &r, wanted.Want, int(k.nc.MaxPayload()/3)); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (l *Log) reportPosition(ctx context.Context, r *epoch.Report) error {
	var sequence int64
	var number string
	err := l.pool.QueryRow(ctx, "SELECT epoch, sequence, digest FROM "+quote(l.schema)+".fold_position").Scan(&number, &sequence, &r.Digest)
	if err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	if r.Sequence = uint64(sequence); r.Sequence > 0 {
		r.Epoch = epoch.Number(epoch.Prefix + number)
	}
	return nil
}

// attend tells audit how far the service is while it runs, forgets what was applied
// as soon as the archive has it, and notices a database that went back.
func (l *Log) attend(ctx context.Context, k *link) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for {
		r := epoch.Report{Service: l.service, Server: k.server, Runs: true}
		saved := l.saved.Load()
		err := l.reportPosition(ctx, &r)
		if err == nil && r.Sequence < saved {
			l.logger.Error("PostgreSQL went back while this process ran", "applied", saved, "database", r.Sequence)
			l.restored()
			return
		}
		var answer epoch.Answer
		if err == nil {
			answer, err = ask(ctx, k, r)
		}
		if err == nil && answer.Attested && answer.Archived > 0 {
			err = l.forgetTail(ctx, answer.Archived)
		}
		if err != nil && ctx.Err() == nil {
			l.logger.Debug("audit was not told how far the service is", "err", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// leave tells audit that the position is final: nobody needs to wait for it.
func (l *Log) leave(ctx context.Context, k *link) {
	if k.gone() || !l.attested {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r := epoch.Report{Service: l.service, Server: k.server, Leaves: true}
	err := l.reportPosition(ctx, &r)
	if err == nil {
		_, err = ask(ctx, k, r)
	}
	if err != nil {
		l.logger.Debug("audit was not told that the service stopped", "err", err)
	}
}

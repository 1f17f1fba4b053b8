package guardian

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/nats-io/nats.go/jetstream"
)

// Trimming says when the log gives up events that the archive has. The zero value
// never does.
type Trimming struct {
	KeepEvents uint64        // the newest ones that stay; 0 where their number does not matter
	KeepFor    time.Duration // how long an event stays; 0 where its age does not matter
	LogBytes   uint64        // above this, the oldest go until half of it is left; 0 for no bound
}

func (t Trimming) off() bool { return t.KeepEvents == 0 && t.KeepFor == 0 && t.LogBytes == 0 }

const (
	trimEvery = 5 * time.Second
	trimBatch = 5000 // events that are compared and removed at once
	warnAgain = time.Hour
)

// trim removes the log's oldest events: those that the archive holds, byte for byte,
// and every service that was ever heard of has applied.
func (r *round) trim(ctx context.Context) error {
	if r.g.o.Trim.off() || r.g.o.Archive == nil || time.Since(r.trimmed) < trimEvery {
		return nil
	}
	began := time.Now()
	r.trimmed = began
	s, err := r.js.Stream(ctx, r.at.stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", r.at.stream, err)
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	through, last := r.archived, ""
	for _, name := range slices.Sorted(maps.Keys(r.registered)) {
		if at := r.registered[name].sequence; at < through {
			through, last = at, name
		}
	}
	r.warnBlocked(last, through, state)
	through = min(through, state.FirstSeq+trimBatch-1)
	if through, err = r.g.o.Trim.through(ctx, r, state, through); err != nil {
		return err
	}
	if through < state.FirstSeq {
		return nil
	}
	current := &stream{name: r.at.stream, first: state.FirstSeq, last: state.LastSeq}
	if err := r.verified(ctx, current, through); err != nil {
		r.g.o.Logger.Error("the log is not trimmed", "reason", err)
		return nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(through+1)); err != nil {
		return fmt.Errorf("trimming %s: %w", r.at.stream, err)
	}
	r.g.o.Logger.Info("the log was trimmed", "stream", r.at.stream, "from", state.FirstSeq, "through", through)
	return nil
}

// warnBlocked warns of a service that stands still where the log is to be made smaller: it may
// not come back, and until somebody says so the log only grows.
func (r *round) warnBlocked(service string, at uint64, state jetstream.StreamState) {
	bound := r.g.o.Trim.LogBytes
	if service == "" || at >= state.FirstSeq || bound == 0 || state.Bytes <= bound {
		r.blocked = blocked{}
		return
	}
	if service != r.blocked.service || at != r.blocked.at {
		r.blocked = blocked{service: service, at: at} // it may be on its way
		return
	}
	if r.trimmed.Sub(r.blocked.warned) < warnAgain {
		return
	}
	r.blocked.warned = r.trimmed
	r.g.o.Logger.Warn("the log is larger than its limit, and cannot be trimmed before a service has applied it: start the service, or, "+
		"if it will not start again, send audit DELETE /v1/log/services/"+service,
		"service", service, "applied", at, "log_begins", state.FirstSeq, "bytes", state.Bytes, "bound", bound)
}

// blocked is who blocked up trimming at the last turn, where it was, and when that was told.
type blocked struct {
	service string
	at      uint64
	warned  time.Time
}

// through is the last event that may go, of those up to a limit.
func (t Trimming) through(ctx context.Context, r *round, state jetstream.StreamState, limit uint64) (uint64, error) {
	if t.LogBytes > 0 && state.Bytes > t.LogBytes && state.Msgs > 0 {
		// Room comes before age and number.
		each := max(1, state.Bytes/state.Msgs)
		return min(limit, state.FirstSeq+(state.Bytes-t.LogBytes/2)/each), nil
	}
	if t.KeepEvents == 0 && t.KeepFor == 0 {
		return 0, nil
	}
	if t.KeepEvents > 0 {
		if state.LastSeq <= t.KeepEvents {
			return 0, nil
		}
		limit = min(limit, state.LastSeq-t.KeepEvents)
	}
	if t.KeepFor == 0 || limit < state.FirstSeq {
		return limit, nil
	}
	// The first event that is young enough, by the server's clock, which stored them all.
	cutoff := state.LastTime.Add(-t.KeepFor)
	low, high := state.FirstSeq, limit+1 // those before low are old, high is not or ends it
	current := &stream{name: r.at.stream}
	for low < high {
		middle := low + (high-low)/2
		m, err := current.get(ctx, r.nc, middle)
		if err != nil {
			return 0, err
		}
		if m.stored.Before(cutoff) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low - 1, nil
}

// verified holds the events up to a sequence against the archive.
func (r *round) verified(ctx context.Context, s *stream, through uint64) error {
	digests := make([]string, 0, through-s.first+1)
	err := s.read(ctx, r.js, s.first, through, func(m message) error {
		digests = append(digests, archive.Digest(m.data))
		return nil
	})
	if err != nil {
		return err
	}
	n := 0
	err = r.g.o.Archive.Read(ctx, s.first, through, func(batch []archive.Record) error {
		for _, one := range batch {
			if one.Digest != digests[n] {
				return fmt.Errorf("the archive and the log have different events at %d", one.Sequence)
			}
			n++
		}
		return nil
	})
	if err == nil && n != len(digests) {
		err = errors.New("the archive has fewer events than the log")
	}
	return err
}

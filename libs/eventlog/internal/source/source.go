package source

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/lead"
	"github.com/freshet-io/freshet/libs/eventlog/internal/stall"
)

// A Source reads the log, wherever it is.
type Source struct {
	engine  *engine.Engine
	archive *archive.Reader // the log's past beyond the server; nil where there is none
	board   *stall.Board
	end     atomic.Uint64 // last sequence seen in the log
}

// New returns a source of the events that an engine folds.
func New(g *engine.Engine, a *archive.Reader, board *stall.Board) *Source {
	return &Source{engine: g, archive: a, board: board}
}

// HasArchive says whether there is an archive to read.
func (s *Source) HasArchive() bool { return s.archive != nil }

// End is the last sequence seen in the log.
func (s *Source) End() uint64 { return s.end.Load() }

// SawEnd notes a sequence that the log has.
func (s *Source) SawEnd(sequence uint64) {
	for {
		old := s.end.Load()
		if sequence <= old || s.end.CompareAndSwap(old, sequence) {
			return
		}
	}
}

// CheckPosition holds what was applied against the log, and returns where that ends.
func (s *Source) CheckPosition(ctx context.Context, k *lead.LogSession) (end uint64, err error) {
	first, last, err := k.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	s.SawEnd(last)
	sequence, digest := s.engine.PositionDigest()
	service := s.engine.Service()
	switch {
	case sequence > last:
		return 0, stall.Alarmf("%s applied the log up to %d, and it ends at %d", service, sequence, last)
	case sequence+1 < first && s.archive == nil:
		return 0, stall.Alarmf("%s applied the log up to %d, it begins at %d, and there is no archive to read", service, sequence, first)
	case sequence > 0:
		var data []byte
		if sequence >= first {
			v, err := s.eventAt(ctx, k, sequence)
			if err != nil {
				return 0, fmt.Errorf("check the position: %w", err)
			}
			data = v.Data
		} else if s.archive != nil {
			err := s.Past(ctx, k, FromLog, sequence-1, sequence, func(c Chunk) error {
				data = c[0].Data
				return nil
			})
			if err != nil {
				return 0, fmt.Errorf("check the position: %w", err)
			}
		}
		if sum := envelope.Digest(data); data != nil && !bytes.Equal(sum, digest) {
			return 0, stall.Alarmf("event %d of the log is not the one that %s applied", sequence, service)
		}
	}
	return last, nil
}

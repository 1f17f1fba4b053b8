package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/freshet-io/freshet/services/monitoring/internal/state"
)

const (
	largestProfile = 64 << 20
	mostProfiles   = 64
)

// Objects reads verified objects; *objects.Store is one.
type Objects interface {
	Get(ctx context.Context, digest string, limit int64) ([]byte, error)
}

// Profiles reads versions' reference profiles and keeps the last few.
type Profiles struct {
	db      eventlog.Reader
	objects Objects

	mu    sync.Mutex
	known map[string]*statistics.Profile // by digest
}

// NewProfiles returns profiles over the fold and an object store.
func NewProfiles(db eventlog.Reader, objects Objects) *Profiles {
	return &Profiles{db: db, objects: objects, known: map[string]*statistics.Profile{}}
}

// Of is a version's profile; nil where the version is not known to have one.
func (p *Profiles) Of(ctx context.Context, namespace, model string, version int64) (*statistics.Profile, error) {
	digest, err := state.ProfileOf(ctx, p.db, namespace, model, version)
	if errors.Is(err, state.ErrNone) || err == nil && digest == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	known := p.known[digest]
	p.mu.Unlock()
	if known != nil {
		return known, nil
	}
	b, err := p.objects.Get(ctx, digest, largestProfile)
	if err != nil {
		return nil, fmt.Errorf("profile of %s version %d: %w", model, version, err)
	}
	profile, err := statistics.ParseProfile(b)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= mostProfiles {
		clear(p.known)
	}
	p.known[digest] = profile
	return profile, nil
}

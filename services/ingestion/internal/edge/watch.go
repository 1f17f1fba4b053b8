package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/ingestion/internal/git"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
	"github.com/prometheus/client_golang/prometheus"
)

// Watch looks at the heads of the connected repositories' branches and records
// where one moved. A repository that cannot be reached is asked again; the others
// do not wait for it.
type Watch struct {
	log    *eventlog.Log
	git    *git.Runner
	logger *slog.Logger
	real   clock.Clock
	local  time.Duration // between two looks at a directory of this machine
	remote time.Duration

	failures *prometheus.CounterVec
	wake     chan struct{}

	mu     sync.Mutex
	looked map[string]*look
}

type look struct {
	last    time.Time
	busy    bool
	trouble string
	done    bool // looked at least once since the address is what it is
	address string
}

// lookTime is how long one look may take.
const lookTime = 20 * time.Second

// NewWatch returns the watch.
func NewWatch(l *eventlog.Log, g *git.Runner, local, remote time.Duration, logger *slog.Logger, metrics prometheus.Registerer) (*Watch, error) {
	w := &Watch{log: l, git: g, logger: logger, real: clock.System(), local: local, remote: remote, wake: make(chan struct{}, 1), looked: map[string]*look{},
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_ingestion_watch_failures_total",
			Help: "Looks at a repository's branch that failed."}, []string{"repository"})}
	return w, metrics.Register(w.failures)
}

// Look makes the watch look at all repositories now.
func (w *Watch) Look() {
	w.mu.Lock()
	for _, l := range w.looked {
		l.last = time.Time{}
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run looks until ctx ends. Looking is in real time: it is about the world outside,
// whatever the suite's clock says.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(min(w.local, w.remote))
	defer tick.Stop()
	var looks sync.WaitGroup
	defer looks.Wait()
	for {
		repositories, err := state.Repositories(ctx, w.log.State(), "")
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, r := range repositories {
			if l := w.due(r); l != nil {
				looks.Go(func() { w.one(ctx, r, l) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.wake:
		}
	}
}

// due is the look to make at a repository, nil where it is not time.
func (w *Watch) due(r state.Repository) *look {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := r.Namespace + "/" + r.Repository
	l := w.looked[key]
	if l == nil || l.address != r.URL+" "+r.Branch {
		l = &look{address: r.URL + " " + r.Branch}
		w.looked[key] = l
	}
	every := w.remote
	if strings.HasPrefix(r.URL, "/") {
		every = w.local
	}
	if l.busy || w.real.Now().Sub(l.last) < every {
		return nil
	}
	l.busy = true
	return l
}

func (w *Watch) one(ctx context.Context, r state.Repository, l *look) {
	bounded, cancel := context.WithTimeout(ctx, lookTime)
	head, err := w.git.Head(bounded, r.URL, r.Branch)
	if err == nil && head != r.Head {
		err = w.pushed(bounded, r, head)
	}
	cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	l.busy, l.last, l.done = false, w.real.Now(), true
	trouble := ""
	if err != nil && ctx.Err() == nil {
		trouble = err.Error()
		if errors.Is(err, git.ErrNoBranch) {
			trouble = "it has no branch " + strconv.Quote(r.Branch) + "; commit to it, or connect the repository with another branch"
		}
		w.failures.WithLabelValues(r.Repository).Inc()
	}
	if trouble != "" && trouble != l.trouble {
		w.logger.Warn("a repository cannot be looked at", "repository", r.Repository, "namespace", r.Namespace, "error", trouble)
	}
	l.trouble = trouble
}

// check refuses a directory of this machine that git cannot read a branch from. One
// whose branch is still to come is let through, and so is what is elsewhere: a look
// at it may take long, and Trouble says how it went.
func (w *Watch) check(ctx context.Context, address, branch string) error {
	if !strings.HasPrefix(address, "/") {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	_, err := w.git.Head(bounded, address, branch)
	if failed := (*git.Error)(nil); errors.As(err, &failed) {
		return fmt.Errorf("%s is not a Git repository that can be read (%s); run git init and commit there, or give the directory that holds .git, "+
			"or a bare repository", address, failed.Message)
	}
	return nil
}

// trouble is why the last look at a repository failed; empty where it did not.
func (w *Watch) trouble(r state.Repository) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.looked[r.Namespace+"/"+r.Repository]; l != nil && l.address == r.URL+" "+r.Branch {
		return l.trouble
	}
	return ""
}

// pushed records that a branch moved. Its key is the number of the push, so that
// two watches, or one that has not yet seen its own last record, record it once.
func (w *Watch) pushed(ctx context.Context, r state.Repository, head string) error {
	draft, err := events.NewCodePushed(r.Namespace, r.Repository, events.CodePushed{
		Repository: r.Repository, URL: r.URL, Branch: r.Branch, Revision: head, Before: r.Head, Via: "watch"})
	if err != nil {
		return err
	}
	_, err = w.log.RecordAndWait(ctx, eventlog.Fact{Event: draft, Key: []string{"watch", r.Repository, strconv.FormatInt(r.Pushes+1, 10)}})
	if errors.Is(err, eventlog.ErrConflict) {
		return nil // somebody else recorded this push; the next look sees it
	}
	return err
}

// Behind is how many connected repositories have not been looked at.
func (w *Watch) Behind(ctx context.Context) (int64, error) {
	repositories, err := state.Repositories(ctx, w.log.State(), "")
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for _, r := range repositories {
		if l := w.looked[r.Namespace+"/"+r.Repository]; l == nil || !l.done || l.address != r.URL+" "+r.Branch {
			n++
		}
	}
	return n, nil
}

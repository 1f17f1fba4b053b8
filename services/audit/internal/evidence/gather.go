// Package evidence answers what auditors ask: the checkpoints, proofs of events, and
// packs of all that led to a model, for readers who trust the signing key and nothing
// else.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/services/audit/internal/logread"
	"github.com/freshet-io/freshet/services/audit/internal/merkle"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

// packLimit is how many events a pack may have.
const packLimit = 20_000

// Library gives proofs and packs.
type Library struct {
	index   eventlog.Reader
	log     *logread.Reader
	archive *archive.Reader
	merkle  *merkle.Log
}

// New returns a library.
func New(index eventlog.Reader, log *logread.Reader, a *archive.Reader, m *merkle.Log) *Library {
	return &Library{index: index, log: log, archive: a, merkle: m}
}

// message reads an event's bytes: from the log, or from the archive where the log no
// longer has it.
func (l *Library) message(ctx context.Context, e state.Entry) (logread.Message, error) {
	m, err := l.log.Find(ctx, uint64(e.Sequence), e.ID)
	if !errors.Is(err, logread.ErrMissing) {
		return m, err
	}
	r, err := l.archive.Get(ctx, uint64(e.Sequence))
	return logread.Message{Sequence: r.Sequence, Data: r.Data, Stored: r.Time}, err
}

// covering returns a checkpoint over a message, a new one where it needs one.
func (l *Library) covering(ctx context.Context, sequence int64) (events.CheckpointSigned, error) {
	if c := l.merkle.Newest(); c.Size >= sequence {
		return c, nil
	}
	if err := l.merkle.Await(ctx, sequence); err != nil {
		return events.CheckpointSigned{}, err
	}
	c, err := l.merkle.Checkpoint(ctx)
	if err == nil && c.Size < sequence { // another process signs, or it is a checkpoint itself
		err = fmt.Errorf("%w: it is message %d, and the newest checkpoint is over %d", merkle.ErrUncovered, sequence, c.Size)
	}
	return c, err
}

// Proof proves that an event is in the log.
func (l *Library) Proof(ctx context.Context, namespace, id string) (transparency.Proof, error) {
	e, err := state.Get(ctx, l.index, namespace, id)
	if err != nil {
		return transparency.Proof{}, err
	}
	m, err := l.message(ctx, e)
	if err != nil {
		return transparency.Proof{}, err
	}
	sequence := int64(m.Sequence)
	c, err := l.covering(ctx, sequence)
	if err != nil {
		return transparency.Proof{}, err
	}
	hashes, err := l.merkle.Prove(sequence, c)
	return transparency.Proof{Index: sequence - 1, Record: m.Data, Hashes: hashes, Checkpoint: c.Note}, err
}

// Pack gathers the evidence about a model: every event of the ripples that it is the
// subject of, or only of those that led to, judged and moved one version.
func (l *Library) Pack(ctx context.Context, namespace, model string, version int64) (map[string][]byte, error) {
	s := state.Selection{Namespace: namespace, Rollouts: typesOf("rollout"), Limit: packLimit}
	what := "all"
	if version == 0 {
		s.Subjects, s.Types = []string{model}, typesOf("model")
	} else {
		what = strconv.FormatInt(version, 10)
		var err error
		if s.Events, err = l.roots(ctx, namespace, model, version); err != nil {
			return nil, err
		}
	}
	entries, err := state.Ripples(ctx, l.index, s)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, state.ErrUnknown
	}
	p := transparency.Pack{About: []string{"namespace " + namespace, "model " + model, "version " + what}}
	for _, e := range entries {
		m, err := l.message(ctx, e)
		if err != nil {
			return nil, err
		}
		p.Records = append(p.Records, transparency.Record{Index: int64(m.Sequence) - 1, Data: m.Data})
	}
	slices.SortFunc(p.Records, func(a, b transparency.Record) int { return int(a.Index - b.Index) })
	c, err := l.covering(ctx, p.Records[len(p.Records)-1].Index+1)
	if err != nil {
		return nil, err
	}
	for i := range p.Records {
		if p.Records[i].Hashes, err = l.merkle.Prove(p.Records[i].Index+1, c); err != nil {
			return nil, err
		}
	}
	p.Checkpoint = c.Note
	return p.Files(l.merkle.Key())
}

// roots are the events whose ripples made a version: its registration, the code's and
// the data's commits.
func (l *Library) roots(ctx context.Context, namespace, model string, version int64) ([]string, error) {
	id, err := state.Link(ctx, l.index, namespace, state.Version, state.VersionKey(model, version))
	if err != nil {
		return nil, err
	}
	e, err := state.Get(ctx, l.index, namespace, id)
	if err != nil {
		return nil, err
	}
	m, err := l.message(ctx, e)
	if err != nil {
		return nil, err
	}
	decoded, err := events.Codec{}.Decode(m.Data)
	if err != nil {
		return nil, err
	}
	registered, err := events.Parse[events.ModelVersionRegistered](decoded)
	if err != nil {
		return nil, err
	}
	roots := []string{id}
	code := registered.Lineage.Code
	commit, err := state.Link(ctx, l.index, namespace, state.Revision, state.RevisionKey(code.Repository, code.Revision))
	if err == nil {
		roots = append(roots, commit)
	} else if !errors.Is(err, state.ErrUnknown) { // the code may not have come through Git
		return nil, err
	}
	for _, d := range registered.Lineage.Data {
		roots = append(roots, d.Event)
	}
	return roots, nil
}

// typesOf are the event types whose subject is of a kind.
func typesOf(subject string) []string {
	var types []string
	for typ, channel := range events.Channels {
		if channel.Subject == subject {
			types = append(types, typ)
		}
	}
	slices.Sort(types)
	return types
}

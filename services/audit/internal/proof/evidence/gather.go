// Package evidence answers what auditors ask: the checkpoints, proofs of events, and
// packs of everything that led to a model, for readers who trust only the signing key.
//
// # Guarantees
//
// A proof or a pack is checked, as a reader will check it, before it is given.
//
// # How it fails
//
// Where the archive is not what was signed, no proof is given, not even from an older
// checkpoint. An event that no checkpoint covers yet gets a new one, for which the
// request waits some seconds; where another process signs, it is refused as uncovered.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/past/lineage"
	"github.com/freshet-io/freshet/services/audit/internal/proof/merkle"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

// packLimit is how many events a pack may have.
const packLimit = 20_000

// Library gives proofs and packs.
type Library struct {
	index     eventlog.Reader
	log       *logread.Reader
	merkle    *merkle.Log
	explainer *lineage.Explainer
}

// New returns a library.
func New(index eventlog.Reader, log *logread.Reader, m *merkle.Log) *Library {
	return &Library{index: index, log: log, merkle: m, explainer: lineage.New(index, log, events.Codec{}, nil)}
}

// message reads an event's bytes.
func (l *Library) message(ctx context.Context, e state.Entry) (logread.Message, error) {
	return l.log.Find(ctx, uint64(e.Sequence), e.ID)
}

// covering returns a checkpoint over a message, a new one where it needs one. While the
// archive is altered there is none, not even an old one.
func (l *Library) covering(ctx context.Context, sequence int64) (events.CheckpointSigned, error) {
	if l.merkle.Altered() {
		return events.CheckpointSigned{}, merkle.ErrAltered
	}
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
	hashes, err := l.merkle.Prove(sequence, m.Data, c)
	return transparency.Proof{Index: sequence - 1, Record: m.Data, Hashes: hashes, Checkpoint: c.Note}, err
}

// Pack gathers the evidence about a model: every event of the ripples that it is the
// subject of, or only of those that led to, judged and moved one version; and everything
// that an explanation of its versions names, with what that depends on.
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
	if entries, err = l.whole(ctx, namespace, model, s.Events, entries); err != nil {
		return nil, err
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
	for i, r := range p.Records {
		if p.Records[i].Hashes, err = l.merkle.Prove(r.Index+1, r.Data, c); err != nil {
			return nil, err
		}
	}
	p.Checkpoint = c.Note
	return p.Files(l.merkle.Key())
}

// whole adds to the events of ripples what explanations of the versions name that were
// registered by some of them (of every version of the model, where none is named), and
// everything that any of it depends on. So whoever has the pack finds each cause in it.
func (l *Library) whole(ctx context.Context, namespace, model string, registered []string, entries []state.Entry) ([]state.Entry, error) {
	all := gathered{known: map[string]bool{}}
	all.add(entries...)
	versions := slices.DeleteFunc(slices.Clone(entries), func(e state.Entry) bool {
		return e.Type != events.TypeModelVersionRegistered || e.Subject != model || registered != nil && !slices.Contains(registered, e.ID)
	})
	behind, err := l.explainer.Behind(ctx, namespace, versions, packLimit)
	if err != nil {
		return nil, err
	}
	all.add(behind...)
	for done := 0; done < len(all.entries); {
		if len(all.entries) > packLimit {
			return nil, state.ErrTooMany
		}
		causes, measured := all.next(done)
		done = len(all.entries)
		more, err := state.Entries(ctx, l.index, namespace, causes)
		if err != nil {
			return nil, err
		}
		all.add(more...)
		if more, err = state.Verdicts(ctx, l.index, namespace, measured); err != nil {
			return nil, err
		}
		all.add(more...)
	}
	return all.entries, nil
}

// gathered are events, each once.
type gathered struct {
	entries []state.Entry
	known   map[string]bool
}

func (g *gathered) add(entries ...state.Entry) {
	for _, e := range entries {
		if !g.known[e.ID] {
			g.known[e.ID] = true
			g.entries = append(g.entries, e)
		}
	}
}

// next are what the events from an index on rest on and is not there, and the measured
// candidates among them: a verdict belongs to each.
func (g *gathered) next(from int) (causes, measured []string) {
	causes, measured = []string{}, []string{}
	for _, e := range g.entries[from:] {
		for _, c := range append([]string{e.Cause}, e.Contributors...) {
			if c != "" && !g.known[c] {
				causes = append(causes, c)
			}
		}
		if e.Type == events.TypeCandidateMeasured {
			measured = append(measured, e.ID)
		}
	}
	return causes, measured
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

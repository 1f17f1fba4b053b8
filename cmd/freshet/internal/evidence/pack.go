package evidence

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/services/registry"
)

const (
	packLimit = 1 << 30 // bytes
	fileLimit = 4 << 20
)

// A Pack is what a verified pack says.
type Pack struct {
	About    []string  `json:"about"`
	Events   int       `json:"events"`
	Size     int64     `json:"checkpoint"` // events that the checkpoint is over
	Key      string    `json:"key"`
	Trusted  bool      `json:"trusted"` // the key was given, not taken from the pack
	Versions []Version `json:"versions"`
	Findings []Finding `json:"findings"`
}

// A Version is a model version with what decided over it.
type Version struct {
	Model       string              `json:"model"`
	Version     int64               `json:"version"`
	Run         string              `json:"run"`
	Artifact    string              `json:"artifact"` // digests
	TrainingSet string              `json:"training_set"`
	Code        events.CodeRevision `json:"code"`
	Data        []DataCommit        `json:"data"`
	Passed      bool                `json:"passed"` // as recorded, and as decided again
	Gates       []events.GateResult `json:"gates"`
	Candidate   map[string]float64  `json:"candidate"` // what the gates saw
	Champion    map[string]float64  `json:"champion,omitempty"`
	Naive       map[string]float64  `json:"naive"`
	History     []Step              `json:"history"`
}

// A DataCommit is one that a version was trained on.
type DataCommit struct {
	Dataset string `json:"dataset"`
	Number  int64  `json:"number"`
	Commit  string `json:"commit"`
}

// A Step is something that happened to a version.
type Step struct {
	Time     time.Time `json:"time"`
	Sequence int64     `json:"sequence"`
	What     string    `json:"what"`
}

// ReadPack reads a pack's files from a directory or a tar.
func ReadPack(path string) (map[string][]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return readDir(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read from
	return transparency.ReadTar(f)
}

func readDir(path string) (map[string][]byte, error) {
	files, total := map[string][]byte{}, 0
	root := os.DirFS(path)
	err := filepath.WalkDir(path, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(path, name)
		if err != nil {
			return err
		}
		f, err := root.Open(filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read from
		b, err := bounded(f)
		if total += len(b); total > packLimit {
			return errors.New("it is larger than any pack")
		}
		files[filepath.ToSlash(rel)] = b
		return err
	})
	return files, err
}

func bounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, fileLimit+1))
	if err == nil && len(b) > fileLimit {
		err = errors.New("a file is larger than any of a pack")
	}
	return b, err
}

// VerifyPack verifies a pack, and decides again what the registry decided.
func VerifyPack(files map[string][]byte, keys ...string) Pack {
	p := Pack{Trusted: len(keys) > 0, Versions: []Version{}, Findings: []Finding{}}
	find := func(where, format string, args ...any) {
		p.Findings = append(p.Findings, Finding{where, fmt.Sprintf(format, args...)})
	}
	if !p.Trusted {
		key, err := transparency.PackKey(files)
		if err != nil {
			find("key", "%v", err)
			return p
		}
		keys = []string{key}
	}
	opened, checkpoint, key, err := transparency.OpenPack(files, keys...)
	p.About, p.Key, p.Size = opened.About, key, checkpoint.Size
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			find("pack", "%s", line)
		}
		return p
	}
	l := ledger{byID: map[string]int{}, find: find}
	for _, r := range opened.Records {
		e, err := events.Codec{}.Decode(r.Data)
		if err != nil {
			find(fmt.Sprintf("sequence %d", r.Index+1), "the event cannot be read: %v", err)
			continue
		}
		l.byID[e.ID()] = len(l.events)
		l.events = append(l.events, e)
		l.sequence = append(l.sequence, r.Index+1)
	}
	p.Events = len(l.events)
	for i, e := range l.events {
		if cause := eventlog.Causation(e); cause != "" {
			if at, ok := l.byID[cause]; !ok || at >= i {
				find(l.where(i), "its cause, %s, is not in the pack before it", cause)
			}
		}
	}
	for i, e := range l.events {
		if e.Type() == events.TypeCandidateMeasured {
			if v, ok := l.decideAgain(i); ok {
				p.Versions = append(p.Versions, v)
			}
		}
	}
	for _, v := range p.Versions {
		if p.isAbout(v) {
			l.trainedOn(v)
		}
	}
	// A model may have no version yet; a version was judged.
	if !slices.Contains(p.About, "version all") && !slices.ContainsFunc(p.Versions, p.isAbout) {
		find("pack", "it is about %s, and no verdict on that is in it", strings.Join(p.About, ", "))
	}
	return p
}

// isAbout tells the versions that a pack promises everything of from those that are in
// the same ripples.
func (p Pack) isAbout(v Version) bool {
	return slices.Contains(p.About, "model "+v.Model) &&
		(slices.Contains(p.About, "version all") || slices.Contains(p.About, fmt.Sprintf("version %d", v.Version)))
}

// ledger is a pack's events, in the log's order.
type ledger struct {
	events   []event.Event
	sequence []int64
	byID     map[string]int
	find     func(where, format string, args ...any)
}

func (l *ledger) where(i int) string {
	return fmt.Sprintf("sequence %d, %s", l.sequence[i], l.events[i].Type())
}

// trainedOn demands every data commit that a version was trained on, each the parent of
// the next.
func (l *ledger) trainedOn(v Version) {
	type name struct {
		dataset string
		number  int64
	}
	commits := map[name]events.DataCommitted{}
	for _, e := range l.events {
		if e.Type() != events.TypeDataCommitted {
			continue
		}
		if p, err := events.Parse[events.DataCommitted](e); err == nil {
			commits[name{p.Dataset, p.Number}] = p
		}
	}
	where := fmt.Sprintf("%s v%d", v.Model, v.Version)
	for _, d := range v.Data {
		parent := ""
		for n := int64(1); n <= d.Number; n++ {
			c, ok := commits[name{d.Dataset, n}]
			if !ok {
				l.find(where, "data commit %d of %s, which it was trained on, is not in the pack", n, d.Dataset)
				break
			}
			if c.Parent != parent {
				l.find(where, "data commit %d of %s does not continue the one before it", n, d.Dataset)
				break
			}
			parent = c.Commit
		}
		if c, ok := commits[name{d.Dataset, d.Number}]; ok && c.Commit != d.Commit {
			l.find(where, "data commit %d of %s is %s, and it was trained on %s", d.Number, d.Dataset, c.Commit, d.Commit)
		}
	}
}

// decideAgain decides over a measured candidate again and compares with what was recorded.
func (l *ledger) decideAgain(at int) (v Version, ok bool) {
	measured, err := events.Parse[events.CandidateMeasured](l.events[at])
	if err != nil {
		l.find(l.where(at), "it cannot be read: %v", err)
		return v, false
	}
	var recorded []events.GateResult
	var registered *events.ModelVersionRegistered
	verdicts := 0
	for i := at + 1; i < len(l.events); i++ {
		e := l.events[i]
		if eventlog.Causation(e) != l.events[at].ID() {
			continue
		}
		switch e.Type() {
		case events.TypeModelVersionRegistered:
			if p, err := events.Parse[events.ModelVersionRegistered](e); err == nil {
				registered = &p
			}
		case events.TypeCandidatePassed:
			if p, err := events.Parse[events.CandidatePassed](e); err == nil {
				recorded, v.Passed, verdicts = p.Gates, true, verdicts+1
			}
		case events.TypeCandidateRefused:
			if p, err := events.Parse[events.CandidateRefused](e); err == nil {
				recorded, v.Passed, verdicts = p.Gates, false, verdicts+1
			}
		}
	}
	if registered == nil && verdicts == 0 && l.repeats(at, measured) {
		return v, false
	}
	if registered == nil || verdicts != 1 {
		l.find(l.where(at), "the pack has %d verdicts on this candidate and not one, or lacks its registration", verdicts)
		return v, false
	}
	if registered.Artifact != measured.Artifact || registered.Run != measured.Run || registered.Lineage.TrainingSet != measured.Lineage.TrainingSet {
		l.find(l.where(at), "version %d was registered with another artifact, run or training set than were measured", registered.Version)
	}
	results, passed, err := registry.Evaluate(measured)
	switch {
	case err != nil:
		l.find(l.where(at), "its gates cannot be decided again: %v", err)
	case passed != v.Passed:
		l.find(l.where(at), "decided again, version %d is %s; recorded is that it is %s", registered.Version, verdict(passed), verdict(v.Passed))
	case !slices.EqualFunc(results, recorded, equalGate):
		l.find(l.where(at), "decided again, a gate of version %d sees or says something else than is recorded", registered.Version)
	}
	v.Model, v.Version, v.Run = registered.Model, registered.Version, registered.Run
	v.Artifact, v.TrainingSet, v.Code = registered.Artifact.Digest, registered.Lineage.TrainingSet, registered.Lineage.Code
	for _, d := range registered.Lineage.Data {
		v.Data = append(v.Data, DataCommit{d.Dataset, d.Number, d.Commit})
	}
	v.Gates, v.Candidate, v.Naive = results, measured.Candidate.Metrics, measured.Naive.Metrics
	if measured.Champion != nil {
		v.Champion = measured.Champion.Metrics
	}
	v.History = l.history(v.Model, v.Version)
	return v, true
}

// repeats tells whether a run was measured before: then nothing is decided again.
func (l *ledger) repeats(at int, measured events.CandidateMeasured) bool {
	return slices.ContainsFunc(l.events[:at], func(e event.Event) bool {
		if e.Type() != events.TypeCandidateMeasured {
			return false
		}
		p, err := events.Parse[events.CandidateMeasured](e)
		return err == nil && p.Run == measured.Run && p.Model == measured.Model
	})
}

func verdict(passed bool) string {
	if passed {
		return "passed"
	}
	return "refused"
}

func equalGate(a, b events.GateResult) bool {
	if a.Name != b.Name || a.CEL != b.CEL || a.Passed != b.Passed || a.FailedToEvaluate != b.FailedToEvaluate || len(a.Values) != len(b.Values) {
		return false
	}
	for name, x := range a.Values {
		if y, ok := b.Values[name]; !ok || x != y {
			return false
		}
	}
	return true
}

// history is what happened to a version after it was measured.
func (l *ledger) history(model string, version int64) []Step {
	steps := []Step{}
	add := func(i int, format string, args ...any) {
		steps = append(steps, Step{l.events[i].Time().UTC(), l.sequence[i], fmt.Sprintf(format, args...)})
	}
	for i, e := range l.events {
		switch e.Type() {
		case events.TypeApprovalGiven:
			if p, err := events.Parse[events.ApprovalGiven](e); err == nil && p.Model == model && p.Version == version {
				add(i, "%s approved it for %s", eventlog.Actor(e), p.Environment)
			}
		case events.TypeApprovalDenied:
			if p, err := events.Parse[events.ApprovalDenied](e); err == nil && p.Model == model && p.Version == version {
				add(i, "%s denied it for %s", eventlog.Actor(e), p.Environment)
			}
		case events.TypeModelVersionApproved:
			if p, err := events.Parse[events.ModelVersionApproved](e); err == nil && p.Model == model && p.Version == version {
				add(i, "approved for %s by %s", p.Environment, p.By)
			}
		case events.TypeRolloutStarted:
			if p, err := events.Parse[events.RolloutStarted](e); err == nil && p.Model == model && p.Version == version {
				add(i, "its rollout to %s started (%s)", p.Environment, p.Kind)
			}
		case events.TypeRolloutRolledBack:
			if p, err := events.Parse[events.RolloutRolledBack](e); err == nil && p.Model == model && p.Version == version {
				add(i, "its rollout to %s was rolled back: %s", p.Environment, p.Reason)
			}
		case events.TypeChampionChanged:
			if p, err := events.Parse[events.ChampionChanged](e); err == nil && p.Model == model && p.Version == version {
				add(i, "champion of %s", p.Environment)
			}
		}
	}
	return steps
}

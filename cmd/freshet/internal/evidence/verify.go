package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/transparency"
)

// A Finding says what is wrong, and where.
type Finding struct {
	Where string `json:"where"`
	What  string `json:"what"`
}

func (f Finding) String() string { return f.Where + ": " + f.What }

// A Report is what was verified and what was found.
type Report struct {
	Events      int64             `json:"events"`
	Sources     map[string]uint64 `json:"sources"`     // the last number of each
	Checkpoints int               `json:"checkpoints"` // that agree
	Covered     int64             `json:"covered"`     // events under the newest of them
	Repeated    int64             `json:"repeated"`    // records of the topic that were stored twice, the same
	Keys        []string          `json:"keys"`        // that signed
	Trusted     bool              `json:"trusted"`     // the keys were given, not taken from what was verified
	Findings    []Finding         `json:"findings"`
	Foreign     []string          `json:"foreign,omitempty"` // files beside the copy that are no part of it
	More        bool              `json:"more"`              // it ended at the limit of findings
}

// Options of a verification.
type Options struct {
	Keys        []string // public keys; those that the copy names itself if empty
	Checkpoints []string // signed notes that the reader kept from before
	Limit       int      // of findings
	Progress    func(events int64)

	every int64 // events in a file of a copy
}

// verifier goes through a log.
type verifier struct {
	o      Options
	report Report

	last    int64 // sequence
	tree    *transparency.Tree
	pending []transparency.Hash
	seen    map[[16]byte]struct{}
	signed  []signed
}

// signed is a checkpoint of the log itself.
type signed struct {
	where    string
	sequence int64
	events.CheckpointSigned
}

func newVerifier(o Options) *verifier {
	if o.Limit <= 0 {
		o.Limit = 20
	}
	if o.every == 0 {
		o.every = fileEvents
	}
	return &verifier{o: o, tree: transparency.NewTree(), seen: map[[16]byte]struct{}{},
		report: Report{Sources: map[string]uint64{}, Findings: []Finding{}}}
}

func (v *verifier) find(where, format string, args ...any) {
	if v.full() {
		v.report.More = true
		return
	}
	v.report.Findings = append(v.report.Findings, Finding{where, fmt.Sprintf(format, args...)})
}

func (v *verifier) full() bool { return len(v.report.Findings) >= v.o.Limit }

// add verifies the next event, of which it is told the sequence and the digest.
func (v *verifier) add(where string, sequence int64, digest string, data []byte) {
	switch {
	case sequence == v.last+1:
	case sequence == v.last:
		v.find(where, "sequence %d is duplicate", sequence)
	case sequence < v.last:
		v.find(where, "sequence %d comes after %d: it is out of order", sequence, v.last)
	case sequence == v.last+2:
		v.find(where, "sequence %d follows %d: one is missing", sequence, v.last)
	default:
		v.find(where, "sequence %d follows %d: %d are missing", sequence, v.last, sequence-v.last-1)
	}
	v.last = max(v.last, sequence)
	v.report.Events++
	sum := sha256.Sum256(data)
	if is := "sha256:" + hex.EncodeToString(sum[:]); is != digest {
		v.find(where, "the event at sequence %d is not the one that was recorded: its digest is %s and was %s", sequence, is, digest)
	}
	v.pending = append(v.pending, transparency.HashOf(data))
	e, err := events.Codec{}.Decode(data)
	if err != nil {
		v.find(where, "the event at sequence %d cannot be read: %v", sequence, err)
		return
	}
	v.envelope(where, sequence, e)
}

// envelope verifies an event's place: its number, its id and its cause.
func (v *verifier) envelope(where string, sequence int64, e event.Event) {
	source, number := e.Source(), eventlog.Sequence(e)
	if last := v.report.Sources[source]; number != last+1 {
		v.find(where, "the event at sequence %d is number %d of %s, which follows its number %d", sequence, number, source, last)
	}
	v.report.Sources[source] = max(v.report.Sources[source], number)
	namespace := eventlog.Namespace(e)
	id := identity(namespace, e.ID())
	if _, twice := v.seen[id]; twice {
		v.find(where, "the event at sequence %d has the id %s of an earlier one", sequence, e.ID())
	}
	v.seen[id] = struct{}{}
	if cause := eventlog.Causation(e); cause != "" {
		if _, known := v.seen[identity(namespace, cause)]; !known || cause == e.ID() {
			v.find(where, "the event at sequence %d names a cause, %s, that is not in the log before it", sequence, cause)
		}
	}
	if e.Type() != events.TypeCheckpointSigned {
		return
	}
	p, err := events.Parse[events.CheckpointSigned](e)
	if err != nil {
		v.find(where, "the checkpoint at sequence %d cannot be read: %v", sequence, err)
		return
	}
	v.signed = append(v.signed, signed{where, sequence, p})
}

func identity(namespace, id string) [16]byte {
	sum := sha256.Sum256([]byte(namespace + "/" + id))
	return [16]byte(sum[:16])
}

// finish compares with everything that was signed. The newest checkpoint, where one
// is given, is over all events.
func (v *verifier) finish(newest string, own []string) (Report, error) {
	if err := v.tree.AppendHashes(v.pending...); err != nil {
		return v.report, err
	}
	keys := v.o.Keys
	v.report.Trusted = len(keys) > 0
	if !v.report.Trusted {
		for _, s := range v.signed {
			own = append(own, s.Key)
		}
		slices.Sort(own)
		for _, k := range slices.Compact(own) {
			if _, err := transparency.ParseKeys(k); err == nil {
				keys = append(keys, k)
			}
		}
	}
	signers := map[string]bool{}
	var good, before int64 // messages under the last checkpoint that agrees, and the last that was looked at
	check := func(where, note string) (transparency.Checkpoint, bool) {
		c, key, err := transparency.OpenCheckpoint(note, keys...)
		if err != nil {
			v.find(where, "%v", err)
			return c, false
		}
		signers[key] = true
		if c.Size > v.tree.Size() {
			v.find(where, "a checkpoint was signed over %d events, and there are %d: the log was cut", c.Size, v.tree.Size())
			return c, false
		}
		root, err := v.tree.Root(c.Size)
		if err != nil || root != c.Root {
			v.find(where, "the events from sequence %d to %d are not those that were signed: the root over the first %d differs", good+1, c.Size, c.Size)
			return c, false
		}
		good = max(good, c.Size)
		v.report.Checkpoints++
		return c, true
	}
	for _, s := range v.signed {
		c, ok := check(s.where, s.Note)
		switch {
		case !ok:
		case c.Size != s.Size || "sha256:"+hex.EncodeToString(c.Root[:]) != s.Root:
			v.find(s.where, "the checkpoint event at sequence %d says another size or root than its note", s.sequence)
		case c.Size >= s.sequence:
			v.find(s.where, "the checkpoint event at sequence %d is over %d events, itself among them", s.sequence, c.Size)
		case c.Size < before:
			v.find(s.where, "the checkpoint event at sequence %d is over fewer events than the one before it", s.sequence)
		}
		before = max(before, c.Size)
	}
	for i, note := range v.o.Checkpoints {
		check(fmt.Sprintf("kept checkpoint %d", i+1), note)
	}
	if newest != "" {
		if c, ok := check(CheckpointFile, newest); ok && c.Size != v.report.Events {
			v.find(CheckpointFile, "it is over %d events, and there are %d", c.Size, v.report.Events)
		}
	}
	if v.report.Checkpoints == 0 && len(v.report.Findings) == 0 {
		v.find("the log", "nothing in it is signed: there is no checkpoint to compare with")
	}
	v.report.Covered = good
	v.report.Keys = slices.Sorted(maps.Keys(signers))
	return v.report, nil
}

// VerifyCopy verifies a directory that Dump wrote.
func VerifyCopy(dir fs.FS, o Options) (Report, error) {
	v := newVerifier(o)
	names, foreign, err := eventsFiles(dir)
	if err != nil {
		return v.report, err
	}
	v.report.Foreign = foreign
	if len(names) == 0 {
		return v.report, errors.New("there are no events-….jsonl: it is no copy of a log (freshet audit dump makes one)")
	}
	next := int64(1)
	for _, name := range names {
		if name != eventsFile(next) {
			v.find(name, "it is not the next file: %s was expected", eventsFile(next))
		}
		if err := v.file(dir, name); err != nil {
			return v.report, err
		}
		next += v.o.every
		if v.full() {
			v.report.More = true
			return v.report, nil
		}
	}
	note, err := fs.ReadFile(dir, CheckpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		v.find(CheckpointFile, "it is missing: the copy is not whole, and nothing says where it ends")
	} else if err != nil {
		return v.report, err
	}
	var own []string
	if b, err := fs.ReadFile(dir, KeyFile); err == nil {
		keys, err := transparency.ParseKeys(string(b))
		if err != nil || len(keys) != 1 || keys[0]+"\n" != string(b) {
			v.find(KeyFile, "it is not a public key")
		} else {
			own = keys
			if len(o.Keys) > 0 && !slices.Contains(o.Keys, keys[0]) {
				v.find(KeyFile, "it is %s, and none of the keys that were given", transparency.KeyID(keys[0]))
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return v.report, err
	} else {
		v.find(KeyFile, "it is missing")
	}
	return v.finish(string(note), own)
}

func (v *verifier) file(dir fs.FS, name string) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read from
	lines := 0
	err = readLines(f, func(number int, line []byte) bool {
		lines = number
		where := fmt.Sprintf("%s:%d", name, number)
		sequence, digest, data, err := parseLine(line)
		if err != nil {
			v.find(where, "%v", err)
			v.last++ // it stands for one
			v.pending = append(v.pending, transparency.Hash{})
			v.report.Events++
		} else {
			v.add(where, sequence, digest, data)
		}
		if v.o.Progress != nil && v.report.Events%1000 == 0 {
			v.o.Progress(v.report.Events)
		}
		return !v.full()
	})
	if err != nil {
		v.find(name, "%v", err)
	}
	if int64(lines) > v.o.every {
		v.find(name, "it has over %d events", v.o.every)
	}
	return nil
}

// Summary is one line about a sound log.
func (r Report) Summary() string {
	names := make([]string, len(r.Keys))
	for i, k := range r.Keys {
		names[i] = transparency.KeyID(k)
	}
	s := fmt.Sprintf("%d events of %d sources, none missing; %d checkpoints agree, the newest over %d events; signed by %s",
		r.Events, len(r.Sources), r.Checkpoints, r.Covered, strings.Join(names, ", "))
	if r.Repeated > 0 {
		s += fmt.Sprintf("; %d records are identical duplicates", r.Repeated)
	}
	return s
}

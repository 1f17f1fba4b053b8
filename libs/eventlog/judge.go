package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jackc/pgx/v5"
)

// Kinds of difference.
const (
	DiffersDecision = "decision" // what is decided now is not what was recorded
	DiffersLog      = "log"      // a decision in the log is not the one that was applied
	DiffersApply    = "apply"    // an event that was applied cannot be any more
	DiffersTable    = "table"    // a row is not what the events make of it
)

// A Difference is where a replay departs from what is live, with both versions.
type Difference struct {
	Kind     string `json:"kind"`
	Sequence uint64 `json:"sequence,omitempty"` // of the first event that diverges, in the log
	Event    string `json:"event,omitempty"`    // its id
	Type     string `json:"type,omitempty"`
	Version  int    `json:"version"`          // of the fold that decided then; 0 where that is not known
	Row      string `json:"row,omitempty"`    // table and key
	Live     string `json:"live"`             // as recorded or live; empty where there is none
	Again    string `json:"again"`            // as the replay has it; empty where there is none
	Detail   string `json:"detail,omitempty"` // in words
}

// A decider is which version of the fold decided from a position on.
type decider struct {
	since   uint64 // decided on events after this one
	version int
}

// A judge decides every event once more and holds the outcome against what was
// recorded, and what was recorded against the log.
type judge struct {
	l         *Log
	activated uint64 // up to here nothing was decided
	deciders  []decider
	skip      uint64 // an event whose decide failed; it is applied all the same

	verdict
	pending map[string][]byte // applied decisions that have not come by in the log, as the outbox has them
	stage   verdict           // of the running transaction
	noted   map[string][]byte
	passed  []string
}

// A verdict is what was found.
type verdict struct {
	decisions int64       // compared
	failed    int64       // differ, where the version is the same
	reported  int64       // differ, where another or an unknown version decided
	first     *Difference // of those that fail
	other     *Difference // the first of those that are reported
}

func (v *verdict) add(w verdict) {
	v.decisions += w.decisions
	v.failed += w.failed
	v.reported += w.reported
	if v.first == nil {
		v.first = w.first
	}
	if v.other == nil {
		v.other = w.other
	}
}

// newJudge reads who decided when.
func (l *Log) newJudge(ctx context.Context, q Reader) (*judge, error) {
	j := &judge{l: l, pending: map[string][]byte{}}
	var err error
	if j.activated, err = l.undecided(ctx, q); err != nil {
		return nil, err
	}
	io := quote(l.schema + "_io")
	rows, err := q.Query(ctx, "SELECT since, version FROM "+io+".versions ORDER BY since")
	if err != nil {
		return nil, fmt.Errorf("read the versions: %w", err)
	}
	var since, version int64
	_, err = pgx.ForEachRow(rows, []any{&since, &version}, func() error {
		j.deciders = append(j.deciders, decider{uint64(since), int(version)}) //nolint:gosec // a position of the log
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the versions: %w", err)
	}
	return j, nil
}

// undecided is up to where the service decided nothing, because the log had that
// before it started for the first time.
func (l *Log) undecided(ctx context.Context, q Reader) (uint64, error) {
	var data []byte
	err := q.QueryRow(ctx, "SELECT event FROM "+quote(l.schema+"_io")+".outbox WHERE sequence = 1").Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the outbox: %w", err)
	}
	e, err := l.codec.Decode(data)
	if err != nil {
		return 0, fmt.Errorf("read the outbox: %w", err)
	}
	return uint64(max(0, l.activatedThrough(e))), nil
}

// version is which version decided on an event; 0 where that is not known.
func (j *judge) version(sequence uint64) int {
	v := 0
	for _, d := range j.deciders {
		if d.since < sequence {
			v = d.version
		}
	}
	return v
}

// begin starts a transaction anew.
func (j *judge) begin() {
	if j != nil {
		j.stage, j.noted, j.passed = verdict{}, map[string][]byte{}, nil
	}
}

// commit keeps what the transaction found.
func (j *judge) commit() {
	if j == nil {
		return
	}
	j.add(j.stage)
	maps.Copy(j.pending, j.noted)
	for _, id := range j.passed {
		delete(j.pending, id)
	}
	j.begin()
}

// note keeps decisions of the outbox until the log has them.
func (j *judge) note(recorded []pastDecision) {
	if j == nil {
		return
	}
	for _, e := range recorded {
		j.noted[e.ID()] = e.data
	}
}

// passes holds one of the service's decisions, as it comes by in the log, against
// the one that was applied.
func (j *judge) passes(v *logEvent) {
	if j == nil || !v.decision {
		return
	}
	applied, ok := j.noted[v.id]
	if !ok {
		if applied, ok = j.pending[v.id]; !ok {
			j.differs(v.stream, v, &Difference{Kind: DiffersLog, Again: string(v.data), Detail: "the log has a decision that was applied nowhere"})
			return
		}
	}
	j.passed = append(j.passed, v.id)
	if !bytes.Equal(applied, v.data) {
		j.differs(v.stream, v, &Difference{Kind: DiffersLog, Live: string(applied), Again: string(v.data), Detail: "the log has another decision than the one that was applied"})
	}
}

// differs notes a difference: a failure where this very version decided then.
func (j *judge) differs(at uint64, v *logEvent, d *Difference) {
	d.Sequence, d.Event, d.Type, d.Version = at, v.id, v.typ, j.version(at)
	if d.Kind == DiffersDecision && d.Version != j.l.fold.Version {
		j.stage.reported++
		if j.stage.other == nil {
			j.stage.other = d
		}
		return
	}
	j.stage.failed++
	if j.stage.first == nil {
		j.stage.first = d
	}
}

// fails notes that an event that was decided on cannot be any more.
func (j *judge) fails(v *logEvent, err error) {
	j.begin()
	j.differs(v.stream, v, &Difference{Kind: DiffersDecision, Detail: "cannot be decided on any more: " + err.Error()})
	j.add(j.stage)
	j.begin()
}

// decide decides once more on an event that was just applied.
func (j *judge) decide(ctx context.Context, t *Tx, v *logEvent, recorded []pastDecision) error {
	at := t.stage.sequence // of a parked event, where it was tried again
	then := slices.DeleteFunc(slices.Clone(recorded), func(e pastDecision) bool { return e.Type() == j.l.parkedType })
	fn := v.decide
	if at <= j.activated || at == j.skip || fn == nil && len(then) == 0 {
		return nil
	}
	var drafts []event.Event
	if fn != nil {
		var err error
		if drafts, err = callDecide(ctx, fn, t, v.event, t.stage.now); err != nil {
			return err
		}
	}
	if len(then) == 0 && len(drafts) == 0 {
		return nil
	}
	j.stage.decisions += int64(max(len(then), len(drafts)))
	cause := CauseOf(v.event)
	for i := range max(len(then), len(drafts)) {
		var was, is event.Event
		if i < len(then) {
			was = then[i].Event
		}
		if i < len(drafts) {
			var err error
			if is, err = place(drafts[i], j.l.service, decisionID(v.id, drafts[i].Type(), i), cause, v.event.Time(), ""); err != nil {
				return Invalid(err)
			}
		}
		if j.same(was, is) {
			continue
		}
		d := &Difference{Kind: DiffersDecision, Live: j.text(was), Again: j.text(is), Detail: "decided otherwise"}
		switch {
		case was.Context == nil:
			d.Detail = "decided now, and not then"
		case is.Context == nil:
			d.Detail = "decided then, and not now"
		}
		j.differs(at, v, d)
		return nil
	}
	return nil
}

// same compares a recorded decision with a new one, but for what recording adds:
// sequence and traceparent.
func (j *judge) same(was, is event.Event) bool {
	if was.Context == nil || is.Context == nil {
		return false
	}
	if sameContext(was, is) && bytes.Equal(was.Data(), is.Data()) {
		return true
	}
	// What is written the same may be held otherwise.
	a, err := j.encode(was)
	if err != nil {
		return false
	}
	b, err := j.encode(is)
	return err == nil && bytes.Equal(a, b)
}

// sameContext compares what is held the same; what it says is not the same may be
// written the same.
func sameContext(was, is event.Event) bool {
	a, ok := was.Context.(*event.EventContextV1)
	b, both := is.Context.(*event.EventContextV1)
	if !ok || !both || a.ID != b.ID || a.Type != b.Type || a.Source != b.Source || !equal(a.Subject, b.Subject) ||
		!equal(a.DataContentType, b.DataContentType) || !equal(a.DataSchema, b.DataSchema) {
		return false
	}
	if (a.Time == nil) != (b.Time == nil) || a.Time != nil && !a.Time.Equal(b.Time.Time) {
		return false
	}
	compared := 0
	for name, v := range a.Extensions {
		if name == extTraceparent {
			continue
		}
		switch v.(type) {
		case string, int32, bool:
			if b.Extensions[name] != v {
				return false
			}
		default:
			return false
		}
		compared++
	}
	if _, ok := b.Extensions[extTraceparent]; ok {
		compared++
	}
	return compared == len(b.Extensions)
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// encode writes a decision with a sequence, which is the same for all, and no
// traceparent.
func (j *judge) encode(e event.Event) ([]byte, error) {
	e = e.Clone()
	e.SetExtension(extSequence, fmt.Sprintf("%0*d", sequenceDigits, 1))
	e.SetExtension(extTraceparent, nil)
	return j.l.codec.Encode(e)
}

// text is a decision as JSON, without what recording adds.
func (j *judge) text(e event.Event) string {
	if e.Context == nil {
		return ""
	}
	b, err := j.encode(e)
	if err != nil {
		return err.Error()
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil {
		return string(b)
	}
	delete(fields, extSequence)
	if b, err = json.Marshal(fields); err != nil {
		return err.Error()
	}
	return string(b)
}

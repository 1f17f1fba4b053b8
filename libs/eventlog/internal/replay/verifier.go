package replay

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/freshet-io/freshet/libs/eventlog/internal/schema"
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

// A verifier decides every event once more and holds the outcome against what was
// recorded, and what was recorded against the log.
type verifier struct {
	r         *Replay
	activated uint64 // up to here nothing was decided
	deciders  []decider
	skip      uint64 // an event whose decide failed; it is applied all the same

	comparison
	pending map[string][]byte // applied decisions that have not come by in the log, as the outbox has them
	stage   comparison        // of the running transaction
	noted   map[string][]byte
	passed  []string
}

// A comparison is what was found.
type comparison struct {
	decisions int64       // compared
	failed    int64       // differ, where the version is the same
	reported  int64       // differ, where another or an unknown version decided
	first     *Difference // of those that fail
	other     *Difference // the first of those that are reported
}

func (v *comparison) add(w comparison) {
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

// newVerifier reads who decided when.
func (r *Replay) newVerifier(ctx context.Context, q engine.Reader) (*verifier, error) {
	j := &verifier{r: r, pending: map[string][]byte{}}
	var err error
	if j.activated, err = r.outbox.Undecided(ctx, q); err != nil {
		return nil, err
	}
	io := schema.Quote(r.engine.Schema() + "_io")
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

// version is which version decided on an event; 0 where that is not known.
func (j *verifier) version(sequence uint64) int {
	v := 0
	for _, d := range j.deciders {
		if d.since < sequence {
			v = d.version
		}
	}
	return v
}

// begin starts a transaction.
func (j *verifier) begin() {
	if j != nil {
		j.stage, j.noted, j.passed = comparison{}, map[string][]byte{}, nil
	}
}

// commit keeps what the transaction found.
func (j *verifier) commit() {
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

// Note keeps decisions of the outbox until the log has them.
func (j *verifier) Note(recorded []engine.Decision) {
	for _, e := range recorded {
		j.noted[e.ID()] = e.Raw
	}
}

// Logged holds one of the service's decisions, as it comes by in the log, against
// the one that was applied.
func (j *verifier) Logged(v *engine.Event) {
	if !v.Decision {
		return
	}
	applied, ok := j.noted[v.ID]
	if !ok {
		if applied, ok = j.pending[v.ID]; !ok {
			j.differs(v.Stream, v, &Difference{Kind: DiffersLog, Again: string(v.Data), Detail: "the log has a decision that was applied nowhere"})
			return
		}
	}
	j.passed = append(j.passed, v.ID)
	if !bytes.Equal(applied, v.Data) {
		j.differs(v.Stream, v, &Difference{Kind: DiffersLog, Live: string(applied), Again: string(v.Data),
			Detail: "the log has another decision than the one that was applied"})
	}
}

// differs notes a difference: a failure where this very version decided then.
func (j *verifier) differs(at uint64, v *engine.Event, d *Difference) {
	d.Sequence, d.Event, d.Type, d.Version = at, v.ID, v.Name, j.version(at)
	if d.Kind == DiffersDecision && d.Version != j.r.engine.Version() {
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
func (j *verifier) fails(v *engine.Event, err error) {
	j.begin()
	j.differs(v.Stream, v, &Difference{Kind: DiffersDecision, Detail: "cannot be decided on any more: " + err.Error()})
	j.add(j.stage)
	j.begin()
}

// Decide decides once more on an event that was just applied.
func (j *verifier) Decide(ctx context.Context, t *engine.Transaction, v *engine.Event, recorded []engine.Decision) error {
	at := t.Position() // of a parked event, where it was tried again
	then := slices.DeleteFunc(slices.Clone(recorded), func(e engine.Decision) bool { return e.Type() == j.r.engine.ParkedType() })
	if at <= j.activated || at == j.skip || !v.Decides() && len(then) == 0 {
		return nil
	}
	drafts, err := t.Decide(ctx, v)
	if err != nil {
		return err
	}
	if len(then) == 0 && len(drafts) == 0 {
		return nil
	}
	j.stage.decisions += int64(max(len(then), len(drafts)))
	cause := envelope.CauseOf(v.Event)
	for i := range max(len(then), len(drafts)) {
		var was, is event.Event
		if i < len(then) {
			was = then[i].Event
		}
		if i < len(drafts) {
			var err error
			if is, err = envelope.Place(drafts[i], j.r.engine.Service(), envelope.DecisionID(v.ID, drafts[i].Type(), i), cause, v.Event.Time(), ""); err != nil {
				return engine.Invalid(err)
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

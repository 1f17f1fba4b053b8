package eventlog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// GrainGround and GrainOrdered are payloads, as the events module generates them.
type GrainGround struct {
	Mill  string `json:"mill"`
	Sacks int    `json:"sacks"`
}

func (*GrainGround) EventType() string                { return "io.freshet.mill.v1.grain_ground" }
func (p *GrainGround) ParseEvent(e event.Event) error { return json.Unmarshal(e.Data(), p) }

type GrainOrdered struct {
	Mill string `json:"mill"`
}

func (*GrainOrdered) EventType() string                { return "io.freshet.mill.v1.grain_ordered" }
func (p *GrainOrdered) ParseEvent(e event.Event) error { return json.Unmarshal(e.Data(), p) }

func newGrainOrdered(namespace, mill string) (event.Event, error) {
	e := event.New()
	e.SetType((*GrainOrdered)(nil).EventType())
	e.SetSubject(mill)
	e.SetExtension("namespace", namespace)
	err := e.SetData(event.ApplicationJSON, GrainOrdered{Mill: mill})
	return e, err
}

// A fold is tables, what events change in them, and what is decided because of events.
func Example() {
	fold := eventlog.NewFold("mill", 1, `CREATE TABLE mills (mill text PRIMARY KEY, sacks bigint NOT NULL, ordered boolean NOT NULL)`)
	eventlog.Apply(fold, func(_ context.Context, tx *eventlog.Tx, _ event.Event, p GrainGround) error {
		tx.Exec(`INSERT INTO mills AS m (mill, sacks, ordered) VALUES ($1, $2, false)
			ON CONFLICT (mill) DO UPDATE SET sacks = m.sacks + excluded.sacks`, p.Mill, p.Sacks)
		return nil
	})
	eventlog.Apply(fold, func(_ context.Context, tx *eventlog.Tx, _ event.Event, p GrainOrdered) error {
		tx.Exec("UPDATE mills SET ordered = true WHERE mill = $1", p.Mill)
		return nil
	})
	eventlog.Decide(fold, func(ctx context.Context, state eventlog.Reader, _ event.Event, p GrainGround, _ time.Time) ([]event.Event, error) {
		var sacks int
		err := state.QueryRow(ctx, "SELECT coalesce(sum(sacks), 0) FROM mills WHERE mill = $1 AND NOT ordered", p.Mill).Scan(&sacks)
		if err != nil || sacks < 100 {
			return nil, err
		}
		return eventlog.Decided(newGrainOrdered("default", p.Mill))
	})
	for _, typ := range fold.Types() {
		fmt.Println(typ)
	}
	// Output:
	// io.freshet.mill.v1.grain_ground
	// io.freshet.mill.v1.grain_ordered
}

// A service that decides several things adds them one after another; an error of any of
// them is the result.
func ExampleDecisions() {
	var d eventlog.Decisions
	d.Add(newGrainOrdered("default", "upper"))
	d.Add(newGrainOrdered("default", "lower"))
	drafts, err := d.Result()
	for _, e := range drafts {
		fmt.Println(e.Type(), e.Subject())
	}
	fmt.Println(err)
	// Output:
	// io.freshet.mill.v1.grain_ordered upper
	// io.freshet.mill.v1.grain_ordered lower
	// <nil>
}

// An edge records what it was told as a fact. The same key is recorded once, whoever
// sends it again.
func ExampleLog_Record() {
	var log *eventlog.Log // of a running service
	draft, err := newGrainOrdered("default", "upper")
	if err != nil {
		fmt.Println(err)
		return
	}
	receipts, err := log.Record(context.Background(), eventlog.Fact{Event: draft, Key: []string{"order", "7"}, Actor: "u-17"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(receipts[0].ID, receipts[0].Existing)
}

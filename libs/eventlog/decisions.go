package eventlog

import "github.com/cloudevents/sdk-go/v2/event"

// Decisions collects what a DecideFunc returns: drafts, in the order in which they
// are decided. The first error stays, and nothing is decided then. The zero value
// is ready for use.
type Decisions struct {
	drafts []event.Event
	err    error
}

// Add adds what a constructor of the events module returns: d.Add(events.NewX(...)).
func (d *Decisions) Add(draft event.Event, err error) {
	if d.Fail(err); d.err == nil {
		d.drafts = append(d.drafts, draft)
	}
}

// Append adds what another function decides.
func (d *Decisions) Append(drafts []event.Event, err error) {
	if d.Fail(err); d.err == nil {
		d.drafts = append(d.drafts, drafts...)
	}
}

// Fail says that nothing can be decided; a nil error says nothing.
func (d *Decisions) Fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Result is what a DecideFunc returns.
func (d *Decisions) Result() ([]event.Event, error) {
	if d.err != nil {
		return nil, d.err
	}
	return d.drafts, nil
}

// Decided is the result of a DecideFunc that decides one thing: Decided(events.NewX(...)).
func Decided(draft event.Event, err error) ([]event.Event, error) {
	var d Decisions
	d.Add(draft, err)
	return d.Result()
}

package decide

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
)

// WholePrefix begins the name of a rule whose failure cannot be blamed on rows.
const WholePrefix = "whole:"

// dataChecked turns a checked arrival into the dataset's next commit, or rejects
// it. Arrivals that were checked at the same time are committed in the order of
// the log, each on top of the other.
func dataChecked(ctx context.Context, db eventlog.Reader, e event.Event, p events.DataChecked, _ time.Time) ([]event.Event, error) {
	ns := eventlog.Namespace(e)
	arrival, ok, err := state.ArrivalOf(ctx, db, ns, p.Arrival)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, eventlog.Invalid(fmt.Errorf("the arrival %s was never recorded", p.Arrival))
	}
	if arrival.Status == "committed" || arrival.Status == "rejected" {
		return nil, nil
	}
	duplicate, err := state.HasCommitted(ctx, db, ns, p.Dataset, p.Arrival)
	if err != nil {
		return nil, err
	}
	spec, known, err := state.SpecOf(ctx, db, ns, p.Spec)
	if err != nil {
		return nil, err
	}
	checked := domain.Checked{Error: p.Error, Duplicate: duplicate, Rows: p.Rows, Accepted: p.Accepted, Quarantined: p.Quarantined, Above: spec.RejectCommitAbove}
	if !known && p.Error == "" {
		checked.Error = domain.UnknownDataset
	}
	for _, f := range p.Failures {
		checked.Whole = checked.Whole || strings.HasPrefix(f.Rule, WholePrefix)
	}
	if reason := domain.Verdict(checked); reason != "" {
		return eventlog.Decided(events.NewDataRejected(ns, p.Dataset, events.DataRejected{
			Dataset: p.Dataset, Arrival: p.Arrival, Reason: reason, Rows: p.Rows, Failed: p.Quarantined, Failures: p.Failures, Quarantine: p.Quarantine,
		}))
	}
	if p.File == nil || p.Manifest == nil || p.Profile == nil {
		return nil, eventlog.Invalid(fmt.Errorf("the check of %s accepted rows without a file, a manifest and a profile", p.Arrival))
	}
	head, err := state.Commits(ctx, db, ns, p.Dataset, 1)
	if err != nil {
		return nil, err
	}
	c := events.DataCommitted{
		Dataset: p.Dataset, Number: 1, Manifest: *p.Manifest, Profile: *p.Profile, Added: []events.DataFile{*p.File},
		Rows: p.Accepted, AddedRows: p.Accepted, Quarantined: p.Quarantined, MinTime: p.File.MinTime, MaxTime: p.File.MaxTime,
		Spec: spec, Contributors: []string{p.Arrival},
	}
	if len(head) > 0 {
		c.Number, c.Parent, c.Rows = head[0].Number+1, head[0].Commit, head[0].Rows+p.Accepted
	}
	if c.Commit, err = domain.CommitDigest(p.Dataset, c.Parent, []string{p.File.Object.Digest}, p.Spec); err != nil {
		return nil, err
	}
	return eventlog.Decided(events.NewDataCommitted(ns, p.Dataset, c))
}

package state

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// Open is where a row ends that still holds.
const Open int64 = math.MaxInt64

// Kinds of things that have a past.
const (
	Models       = "model"       // MODEL
	Versions     = "version"     // MODEL@VERSION
	Stages       = "stage"       // ENVIRONMENT/MODEL@VERSION
	Champions    = "champion"    // ENVIRONMENT/MODEL
	Environments = "environment" // ENVIRONMENT/MODEL
	Rollouts     = "rollout"     // id, while it is open
	Approvals    = "approval"    // ENVIRONMENT/MODEL@VERSION, while a person is awaited
	Alerts       = "alert"       // id, while it is open
	Trainings    = "training"    // id of the request, while it is under way
	Datasets     = "dataset"     // DATASET
	Views        = "view"        // VIEW@VERSION
)

// A change is what an event says about one thing.
type change struct {
	kind, key, model string
	value            map[string]any // nil values take a field away
	mode             string
}

// How a change meets what was so before.
const (
	merged   = "merged"   // its fields beside those that were
	replaced = "replaced" // its fields alone
	known    = "known"    // merged, only where the thing is there
	missing  = "missing"  // only where the thing is not there
)

// changeSQL ends the row that holds and begins the next one. An event that had been set
// aside comes after later ones: its row begins where the last one did, at the earliest.
const changeSQL = `WITH last AS (
		SELECT from_sequence, until_sequence, value FROM past
		WHERE namespace = $1 AND kind = $2 AND key = $3 ORDER BY from_sequence DESC LIMIT 1
	), present AS (
		SELECT from_sequence, value FROM last WHERE until_sequence = 9223372036854775807
	), ended AS (
		UPDATE past p SET until_sequence = $4 FROM present
		WHERE p.namespace = $1 AND p.kind = $2 AND p.key = $3 AND p.from_sequence = present.from_sequence AND p.from_sequence < $4 AND $9 <> 'missing'
	)
	INSERT INTO past (namespace, kind, key, from_sequence, until_sequence, model, event, at, value)
	SELECT $1, $2, $3, greatest($4, (SELECT from_sequence FROM last)), 9223372036854775807, $5, $6, $7,
		jsonb_strip_nulls(CASE WHEN $9 = 'replaced' THEN $8::jsonb ELSE coalesce((SELECT value FROM present), '{}') || $8::jsonb END)
	WHERE CASE $9 WHEN 'known' THEN EXISTS (SELECT FROM present) WHEN 'missing' THEN NOT EXISTS (SELECT FROM present) ELSE true END
	ON CONFLICT (namespace, kind, key, from_sequence) DO UPDATE
		SET until_sequence = excluded.until_sequence, event = excluded.event, at = excluded.at, value = excluded.value`

const endSQL = `UPDATE past SET until_sequence = greatest($4, from_sequence) WHERE namespace = $1 AND kind = $2 AND key = $3
	AND until_sequence = 9223372036854775807`

func (c change) apply(tx *eventlog.Tx, e event.Event) error {
	b, err := json.Marshal(c.value)
	if err != nil {
		return eventlog.Invalid(err)
	}
	mode := c.mode
	if mode == "" {
		mode = merged
	}
	tx.Exec(changeSQL, eventlog.Namespace(e), c.kind, c.key, int64(tx.Sequence()), c.model, e.ID(), e.Time(), string(b), mode)
	return nil
}

func end(tx *eventlog.Tx, e event.Event, kind, key string) {
	tx.Exec(endSQL, eventlog.Namespace(e), kind, key, int64(tx.Sequence()))
}

// past are the applies that keep how things stood.
var past = []handler{
	changes(codeCommitted),
	changes(dataCommitted),
	changes(modelDeclared),
	changes(modelWithdrawn),
	changes(viewDeclared),
	changes(viewMaterialized),
	changes(trainingRequested),
	changes(runStarted),
	changes(runFailed),
	changes(runCancelled),
	changes(candidateMeasured),
	changes(versionRegistered),
	changes(candidatePassed),
	changes(candidateRefused),
	changes(approvalRequested),
	changes(versionApproved),
	changes(versionDenied),
	changes(championChanged),
	changes(rolloutStarted),
	changes(rolloutStepped),
	changes(rolloutCompleted),
	changes(rolloutRolledBack),
	changes(alertRaised),
	changes(alertResolved),
}

// changes is a handler that returns what it changes.
func changes[P any, PP eventlog.EventPayload[P]](fn func(*eventlog.Tx, event.Event, P) []change) handler {
	return on[P, PP](func(_ context.Context, tx *eventlog.Tx, e event.Event, p P) error {
		for _, c := range fn(tx, e, p) {
			if err := c.apply(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// moment is a time as the services' own lists write it.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

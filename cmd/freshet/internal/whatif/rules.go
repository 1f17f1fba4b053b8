package whatif

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// changedRules are what a changed definition of a model may change in a replay.
type changedRules struct {
	namespace string
	spec      events.ModelSpec
	digest    string
}

func newRules(namespace string, spec events.ModelSpec) (changedRules, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return changedRules{}, err
	}
	sum := sha256.Sum256(b)
	return changedRules{namespace, spec, "sha256:" + hex.EncodeToString(sum[:])}, nil
}

// over lays the rules over an event that quotes those of then: a declaration, a
// training's request, a candidate's measurement. Any other stays as it is.
func (r changedRules) over(e event.Event) (event.Event, error) {
	if !r.about(e) {
		return e, nil
	}
	switch e.Type() {
	case events.TypeModelDeclared:
		return rewrite(e, func(p *events.ModelDeclared) { r.into(&p.Spec, &p.SpecDigest) })
	case events.TypeTrainingRequested:
		return rewrite(e, func(p *events.TrainingRequested) { r.into(&p.Spec, &p.SpecDigest) })
	case events.TypeCandidateMeasured:
		return rewrite(e, func(p *events.CandidateMeasured) {
			p.Gates, p.Environments, p.Monitor, p.Mode, p.SpecDigest = r.spec.Gates, r.spec.Environments, r.spec.Monitor, r.spec.Mode, r.digest
		})
	}
	return e, nil
}

// about says whether the subject of an event is the model.
func (r changedRules) about(e event.Event) bool {
	return e.Subject() == r.spec.Model && eventlog.Namespace(e) == r.namespace
}

func (r changedRules) declares(e event.Event) bool {
	return e.Type() == events.TypeModelDeclared && r.about(e)
}

func (r changedRules) into(spec *events.ModelSpec, digest *string) {
	spec.Gates, spec.Environments, spec.Monitor = r.spec.Gates, r.spec.Environments, r.spec.Monitor
	spec.Retrain, spec.Mode = r.spec.Retrain, r.spec.Mode
	*digest = r.digest
}

// rewrite changes an event's payload.
func rewrite[P any](e event.Event, change func(*P)) (event.Event, error) {
	var p P
	if err := json.Unmarshal(e.Data(), &p); err != nil {
		return event.Event{}, fmt.Errorf("%s: %w", e.Type(), err)
	}
	change(&p)
	b, err := json.Marshal(p)
	if err != nil {
		return event.Event{}, fmt.Errorf("%s: %w", e.Type(), err)
	}
	out := e.Clone()
	out.DataEncoded = b
	return out, nil
}

// beyond names what the changed definition says beside rules, held against a
// recorded declaration: that would need runs that never happened.
func (r changedRules) beyond(declared event.Event) ([]string, error) {
	p, err := events.Parse[events.ModelDeclared](declared)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range []struct {
		name      string
		then, now any
	}{
		{"task", p.Spec.Task, r.spec.Task}, {"examples", p.Spec.Examples, r.spec.Examples}, {"features", p.Spec.Features, r.spec.Features},
		{"request", p.Spec.Request, r.spec.Request}, {"prediction", p.Spec.Prediction, r.spec.Prediction},
		{"training", p.Spec.Training, r.spec.Training}, {"evaluate", p.Spec.Metrics, r.spec.Metrics},
	} {
		if !reflect.DeepEqual(f.then, f.now) {
			names = append(names, f.name)
		}
	}
	return names, nil
}

// quoted are the fields of decisions that say by which rules they were made, and with
// which values. The definition's digest is one of them in every type.
var quoted = map[string][]string{
	events.TypeModelVersionRegistered: {"monitor"},
	events.TypeCandidatePassed:        {"gates"},
	events.TypeCandidateRefused:       {"gates"},
	events.TypeModelVersionApproved:   {"monitor", "rollout", "rollback_if"},
	events.TypeRolloutStarted:         {"rollback_if"},
	events.TypeCanaryJudged:           {"rules"},
	events.TypeDriftDetected:          {"threshold"},
	events.TypeQualityDegraded:        {"values"},
	events.TypeAlertRaised:            {"values"},
}

// alike says whether two decisions decide the same, whatever rules they quote for it.
func alike(a, b event.Event) bool {
	return a.Type() == b.Type() && a.Subject() == b.Subject() && reflect.DeepEqual(decides(a), decides(b))
}

func decides(e event.Event) map[string]any {
	var fields map[string]any
	if json.Unmarshal(e.Data(), &fields) != nil {
		return map[string]any{"": string(e.Data())}
	}
	delete(fields, "spec_digest")
	for _, name := range quoted[e.Type()] {
		delete(fields, name)
	}
	return fields
}

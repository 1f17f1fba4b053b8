package lineage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// noteLimit is how much of a note or a hypothesis a sentence quotes.
const noteLimit = 16 << 10

// sentence says what an event means. An event whose payload cannot be read is named
// by its type: an explanation has no holes.
func (x *Explainer) sentence(ctx context.Context, e event.Event) string {
	var text string
	var err error
	if say, ok := sentences[e.Type()]; ok {
		text, err = say(ctx, x, e)
	}
	if text == "" || err != nil {
		text = shortType(e.Type()) + " (" + e.Subject() + ")"
	}
	return text
}

type formatter func(ctx context.Context, x *Explainer, e event.Event) (string, error)

// say adapts a typed sentence.
func say[P any](parse func(event.Event) (P, error), fn func(ctx context.Context, x *Explainer, e event.Event, p P) string) formatter {
	return func(ctx context.Context, x *Explainer, e event.Event) (string, error) {
		p, err := parse(e)
		if err != nil {
			return "", err
		}
		return fn(ctx, x, e, p), nil
	}
}

var sentences = map[string]formatter{
	events.TypeChampionChanged: say(events.Parse[events.ChampionChanged], func(_ context.Context, _ *Explainer, _ event.Event, p events.ChampionChanged) string {
		if p.Previous == nil {
			return fmt.Sprintf("v%d of %s became the first champion in %s", p.Version, p.Model, p.Environment)
		}
		return fmt.Sprintf("v%d of %s became champion in %s, after v%d", p.Version, p.Model, p.Environment, *p.Previous)
	}),
	events.TypeRolloutCompleted: say(events.Parse[events.RolloutCompleted],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.RolloutCompleted) string {
			return fmt.Sprintf("its rollout in %s completed: v%d gets all the traffic", p.Environment, p.Version)
		}),
	events.TypeRolloutStepped: say(events.Parse[events.RolloutStepped], func(_ context.Context, _ *Explainer, _ event.Event, p events.RolloutStepped) string {
		return fmt.Sprintf("the canary in %s stepped up: v%d got %d %% of the traffic", p.Environment, p.Version, p.Weight)
	}),
	events.TypeRolloutStarted: say(events.Parse[events.RolloutStarted], func(_ context.Context, _ *Explainer, _ event.Event, p events.RolloutStarted) string {
		steps := "at once"
		if len(p.Steps) > 0 {
			parts := make([]string, len(p.Steps))
			for i, s := range p.Steps {
				parts[i] = strconv.FormatInt(s, 10) + " %"
			}
			steps = "by " + strings.Join(parts, ", ")
		}
		return fmt.Sprintf("a %s of v%d in %s started, %s", p.Kind, p.Version, p.Environment, steps)
	}),
	events.TypeReplicaReady: say(events.Parse[events.ReplicaReady], func(_ context.Context, _ *Explainer, _ event.Event, p events.ReplicaReady) string {
		return fmt.Sprintf("v%d was loaded in %s and answered after %.0f ms", p.Version, p.Environment, p.LoadMS)
	}),
	events.TypeCanaryJudged: say(events.Parse[events.CanaryJudged], func(_ context.Context, _ *Explainer, _ event.Event, p events.CanaryJudged) string {
		return fmt.Sprintf("step %d of the canary in %s was judged %s%s", p.Step+1, p.Environment, p.Verdict, gates(": ", p.Rules))
	}),
	events.TypeWindowClosed: say(events.Parse[events.WindowClosed], windowClosed),
	events.TypeModelVersionApproved: say(events.Parse[events.ModelVersionApproved],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.ModelVersionApproved) string {
			return fmt.Sprintf("v%d was approved for %s by %s", p.Version, p.Environment, map[string]string{"rule": "its rule", "person": "a person"}[p.By])
		}),
	events.TypeApprovalRequested: say(events.Parse[events.ApprovalRequested],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.ApprovalRequested) string {
			return fmt.Sprintf("v%d waited for a person's approval for %s", p.Version, p.Environment)
		}),
	events.TypeApprovalGiven: say(events.Parse[events.ApprovalGiven], func(ctx context.Context, x *Explainer, e event.Event, p events.ApprovalGiven) string {
		return fmt.Sprintf("%s approved v%d for %s%s", who(e), p.Version, p.Environment, x.quote(ctx, p.Note))
	}),
	events.TypePromotionAsked: say(events.Parse[events.PromotionAsked], func(_ context.Context, _ *Explainer, e event.Event, p events.PromotionAsked) string {
		return fmt.Sprintf("%s asked to promote v%d to %s", who(e), p.Version, p.Environment)
	}),
	events.TypeRollbackAsked: say(events.Parse[events.RollbackAsked], func(_ context.Context, _ *Explainer, e event.Event, p events.RollbackAsked) string {
		if p.Version == nil {
			return fmt.Sprintf("%s asked to roll %s back", who(e), p.Environment)
		}
		return fmt.Sprintf("%s asked to roll %s back to v%d", who(e), p.Environment, *p.Version)
	}),
	events.TypeTrainingAsked: say(events.Parse[events.TrainingAsked], func(_ context.Context, _ *Explainer, e event.Event, p events.TrainingAsked) string {
		return fmt.Sprintf("%s asked to train %s", who(e), p.Model)
	}),
	events.TypeCandidatePassed: say(events.Parse[events.CandidatePassed], func(_ context.Context, _ *Explainer, _ event.Event, p events.CandidatePassed) string {
		return fmt.Sprintf("v%d passed every gate%s", p.Version, gates(": ", p.Gates))
	}),
	events.TypeModelVersionRegistered: say(events.Parse[events.ModelVersionRegistered],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.ModelVersionRegistered) string {
			return fmt.Sprintf("run %s became v%d: %s", short(p.Run), p.Version, params(p.Lineage.Params))
		}),
	events.TypeCandidateMeasured: say(events.Parse[events.CandidateMeasured], candidateMeasured),
	events.TypeRunCompleted: say(events.Parse[events.RunCompleted], func(_ context.Context, _ *Explainer, _ event.Event, p events.RunCompleted) string {
		return fmt.Sprintf("run %s trained it in %.1f s", short(p.Run), p.Seconds)
	}),
	events.TypeRunFailed: say(events.Parse[events.RunFailed], func(_ context.Context, _ *Explainer, _ event.Event, p events.RunFailed) string {
		s := fmt.Sprintf("run %s failed: %s", short(p.Run), strings.ReplaceAll(p.Reason, "_", " "))
		if p.ExitCode != nil {
			s += fmt.Sprintf(", exit code %d", *p.ExitCode)
		}
		return s
	}),
	events.TypeTrainingSetFailed: say(events.Parse[events.TrainingSetFailed],
		func(ctx context.Context, x *Explainer, _ event.Event, p events.TrainingSetFailed) string {
			return fmt.Sprintf("no training set of %s could be built, %s%s", p.Model, strings.ReplaceAll(p.Reason, "_", " "), x.quote(ctx, p.Detail))
		}),
	events.TypeTrainingSetBuilt:  say(events.Parse[events.TrainingSetBuilt], trainingSetBuilt),
	events.TypeTrainingRequested: say(events.Parse[events.TrainingRequested], trainingRequested),
	events.TypeScheduleTicked: say(events.Parse[events.ScheduleTicked], func(_ context.Context, _ *Explainer, _ event.Event, p events.ScheduleTicked) string {
		return "its schedule came due at " + date(p.Tick)
	}),
	events.TypeDriftDetected: say(events.Parse[events.DriftDetected], func(_ context.Context, _ *Explainer, _ event.Event, p events.DriftDetected) string {
		s := fmt.Sprintf("%s of v%d in %s drifted: PSI %s above %s", p.Column, p.Version, p.Environment, number(p.PSI), number(p.Threshold))
		if p.Mean != nil && p.ReferenceMean != nil {
			s += fmt.Sprintf(", mean %s instead of %s", number(*p.Mean), number(*p.ReferenceMean))
		}
		return s
	}),
	events.TypeQualityDegraded: say(events.Parse[events.QualityDegraded], func(_ context.Context, _ *Explainer, _ event.Event, p events.QualityDegraded) string {
		return fmt.Sprintf("live quality of v%d in %s broke %q: %s", p.Version, p.Environment, p.Alarm, values(p.Values))
	}),
	events.TypeModelDeclared: say(events.Parse[events.ModelDeclared], func(_ context.Context, _ *Explainer, _ event.Event, p events.ModelDeclared) string {
		return fmt.Sprintf("revision %s of %s declared %s", short(p.Code.Revision), p.Code.Repository, p.Model)
	}),
	events.TypeCodeCommitted: say(events.Parse[events.CodeCommitted], func(ctx context.Context, x *Explainer, _ event.Event, p events.CodeCommitted) string {
		return fmt.Sprintf("code commit %s of %s, branch %s%s", short(p.Revision), p.Repository, p.Branch, x.quote(ctx, p.Hypothesis))
	}),
	events.TypeCodeArchived: say(events.Parse[events.CodeArchived], func(ctx context.Context, x *Explainer, _ event.Event, p events.CodeArchived) string {
		return fmt.Sprintf("revision %s of %s was archived%s", short(p.Revision), p.Repository, x.quote(ctx, p.Hypothesis))
	}),
	events.TypeCodePushed: say(events.Parse[events.CodePushed], func(_ context.Context, _ *Explainer, _ event.Event, p events.CodePushed) string {
		return fmt.Sprintf("revision %s was pushed to %s of %s", short(p.Revision), p.Branch, p.Repository)
	}),
	events.TypeRepositoryConnected: say(events.Parse[events.RepositoryConnected],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.RepositoryConnected) string {
			return fmt.Sprintf("the repository %s was connected", p.Repository)
		}),
	events.TypeFeatureViewDeclared: say(events.Parse[events.FeatureViewDeclared],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.FeatureViewDeclared) string {
			if p.Error != "" {
				return fmt.Sprintf("view %s@%d was declared and cannot be computed: %s", p.View, p.Version, p.Error)
			}
			names := make([]string, len(p.Spec.Features))
			for i, f := range p.Spec.Features {
				names[i] = f.Name
			}
			return fmt.Sprintf("view %s@%d was declared: %s", p.View, p.Version, strings.Join(names, ", "))
		}),
	events.TypeFeatureViewMaterialized: say(events.Parse[events.FeatureViewMaterialized],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.FeatureViewMaterialized) string {
			if p.Error != "" {
				return fmt.Sprintf("view %s@%d could not be computed for commit %s of %s: %s", p.View, p.Version, short(p.Commit), p.Dataset, p.Error)
			}
			return fmt.Sprintf("view %s@%d was computed for commit %s of %s: %s rows", p.View, p.Version, short(p.Commit), p.Dataset, count(p.Rows))
		}),
	events.TypeRunStarted: say(events.Parse[events.RunStarted], func(_ context.Context, _ *Explainer, _ event.Event, p events.RunStarted) string {
		return fmt.Sprintf("run %s of %s began on training set %s", short(p.Run), p.Model, short(p.TrainingSet))
	}),
	events.TypeRunCancelled: say(events.Parse[events.RunCancelled], func(_ context.Context, _ *Explainer, _ event.Event, p events.RunCancelled) string {
		return fmt.Sprintf("run %s of %s was cancelled", short(p.Run), p.Model)
	}),
	events.TypeCancelAsked: say(events.Parse[events.CancelAsked], func(_ context.Context, _ *Explainer, e event.Event, p events.CancelAsked) string {
		return fmt.Sprintf("%s asked to stop run %s", who(e), short(p.Run))
	}),
	events.TypeTrainingSkipped: say(events.Parse[events.TrainingSkipped], func(_ context.Context, _ *Explainer, _ event.Event, p events.TrainingSkipped) string {
		return fmt.Sprintf("no training of %s because of %s: %s", p.Model, p.Trigger, strings.ReplaceAll(p.Reason, "_", " "))
	}),
	events.TypeCandidateRefused: say(events.Parse[events.CandidateRefused],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.CandidateRefused) string {
			return fmt.Sprintf("v%d was refused%s", p.Version, gates(" by ", refusals(p.Gates)))
		}),
	events.TypeModelVersionDenied: say(events.Parse[events.ModelVersionDenied],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.ModelVersionDenied) string {
			return fmt.Sprintf("v%d does not go to %s: %s", p.Version, p.Environment, strings.ReplaceAll(p.Reason, "_", " "))
		}),
	events.TypeApprovalDenied: say(events.Parse[events.ApprovalDenied], func(ctx context.Context, x *Explainer, e event.Event, p events.ApprovalDenied) string {
		return fmt.Sprintf("%s denied v%d for %s%s", who(e), p.Version, p.Environment, x.quote(ctx, p.Note))
	}),
	events.TypeRolloutRolledBack: say(events.Parse[events.RolloutRolledBack],
		func(_ context.Context, _ *Explainer, _ event.Event, p events.RolloutRolledBack) string {
			return fmt.Sprintf("its rollout in %s was rolled back, %s: v%d gets no traffic", p.Environment, strings.ReplaceAll(p.Reason, "_", " "), p.Version)
		}),
	events.TypeRollbackRefused: say(events.Parse[events.RollbackRefused], func(_ context.Context, _ *Explainer, _ event.Event, p events.RollbackRefused) string {
		return fmt.Sprintf("the rollback in %s was refused: %s", p.Environment, strings.ReplaceAll(p.Reason, "_", " "))
	}),
	events.TypeReplicaFailed: say(events.Parse[events.ReplicaFailed], func(_ context.Context, _ *Explainer, _ event.Event, p events.ReplicaFailed) string {
		return fmt.Sprintf("v%d could not be loaded in %s: %s", p.Version, p.Environment, strings.ReplaceAll(p.Reason, "_", " "))
	}),
	events.TypeStepDue: say(events.Parse[events.StepDue], func(_ context.Context, _ *Explainer, _ event.Event, p events.StepDue) string {
		return fmt.Sprintf("step %d of the canary had lasted as long as it may", p.Step+1)
	}),
	events.TypeAlertRaised: say(events.Parse[events.AlertRaised], func(_ context.Context, _ *Explainer, _ event.Event, p events.AlertRaised) string {
		return fmt.Sprintf("an alert was raised in %s, %s: %s", p.Environment, p.Name, values(p.Values))
	}),
	events.TypeAlertResolved: say(events.Parse[events.AlertResolved], func(_ context.Context, _ *Explainer, _ event.Event, p events.AlertResolved) string {
		return fmt.Sprintf("the alert in %s was over", p.Environment)
	}),
	events.TypeDataRejected: say(events.Parse[events.DataRejected], func(_ context.Context, _ *Explainer, _ event.Event, p events.DataRejected) string {
		return dataRejected(p)
	}),
	events.TypeCodeRejected: say(events.Parse[events.CodeRejected], func(_ context.Context, _ *Explainer, _ event.Event, p events.CodeRejected) string {
		return codeRejected(p)
	}),
	events.TypeModelWithdrawn: say(events.Parse[events.ModelWithdrawn], func(_ context.Context, _ *Explainer, _ event.Event, p events.ModelWithdrawn) string {
		return fmt.Sprintf("revision %s of %s no longer declares %s", short(p.Revision), p.Repository, p.Model)
	}),
	events.TypeNoteAdded: say(events.Parse[events.NoteAdded], func(ctx context.Context, x *Explainer, e event.Event, p events.NoteAdded) string {
		return fmt.Sprintf("%s noted%s", who(e), x.quote(ctx, &p.Note))
	}),
	events.TypeDataCommitted: say(events.Parse[events.DataCommitted], dataCommitted),
	events.TypeDataChecked: say(events.Parse[events.DataChecked], func(_ context.Context, _ *Explainer, _ event.Event, p events.DataChecked) string {
		return fmt.Sprintf("%s of %s rows of %s met every expectation", count(p.Accepted), count(p.Rows), p.Dataset)
	}),
	events.TypeDataArrived: say(events.Parse[events.DataArrived], func(_ context.Context, _ *Explainer, _ event.Event, p events.DataArrived) string {
		names := make([]string, len(p.Files))
		for i, f := range p.Files {
			names[i] = f.Name
		}
		return fmt.Sprintf("data arrived for %s over %s: %s", p.Dataset, p.Via, strings.Join(names, ", "))
	}),
}

func windowClosed(_ context.Context, _ *Explainer, _ event.Event, p events.WindowClosed) string {
	var requests int64
	for _, s := range p.Slices {
		requests += s.Requests
	}
	s := fmt.Sprintf("a %s window of %s closed, %s to %s: %s predictions", p.Kind, p.Environment, date(p.From), date(p.To), count(requests))
	if len(p.Live) > 0 {
		s += ", live " + values(p.Live)
	}
	return s
}

func candidateMeasured(_ context.Context, _ *Explainer, _ event.Event, p events.CandidateMeasured) string {
	var parts []string
	for _, metric := range slices.Sorted(maps.Keys(p.Candidate.Metrics)) {
		s := metric + " " + number(p.Candidate.Metrics[metric])
		var others []string
		if p.Champion != nil {
			if v, ok := p.Champion.Metrics[metric]; ok {
				others = append(others, fmt.Sprintf("champion v%d %s", p.Champion.Version, number(v)))
			}
		}
		if v, ok := p.Naive.Metrics[metric]; ok {
			others = append(others, "naive "+number(v))
		}
		if len(others) > 0 {
			s += " (" + strings.Join(others, ", ") + ")"
		}
		parts = append(parts, s)
	}
	return fmt.Sprintf("it was measured on %s rows that none was trained on, %s to %s: %s", count(p.Rows), date(p.From), date(p.To), strings.Join(parts, ", "))
}

func trainingSetBuilt(_ context.Context, _ *Explainer, _ event.Event, p events.TrainingSetBuilt) string {
	parts := make([]string, len(p.Splits))
	for i, s := range p.Splits {
		parts[i] = s.Name + " " + count(s.Rows)
	}
	data := make([]string, len(p.Data))
	for i, d := range p.Data {
		data[i] = fmt.Sprintf("%s at commit %d", d.Dataset, d.Number)
	}
	text := fmt.Sprintf("training set %s was built of %s: %s rows", short(p.TrainingSet), strings.Join(data, ", "), strings.Join(parts, ", "))
	if p.LabelRate != nil {
		text += fmt.Sprintf(", label rate %s", number(*p.LabelRate))
	}
	return text
}

func trainingRequested(_ context.Context, _ *Explainer, _ event.Event, p events.TrainingRequested) string {
	because := map[string]string{"data": "new data", "code": "a code commit", "drift": "drift", "quality": "lost quality", "schedule": "its schedule",
		"person": "a person's wish"}[p.Trigger]
	return fmt.Sprintf("training was requested because of %s, with code %s of %s and nothing known after %s",
		because, short(p.Code.Revision), p.Code.Repository, date(p.AsOf))
}

func dataCommitted(_ context.Context, _ *Explainer, _ event.Event, p events.DataCommitted) string {
	s := fmt.Sprintf("data commit %d of %s added %s rows", p.Number, p.Dataset, count(p.AddedRows))
	if p.MinTime != nil && p.MaxTime != nil {
		s += fmt.Sprintf(" of %s to %s", date(*p.MinTime), date(*p.MaxTime))
	}
	if p.Quarantined > 0 {
		s += fmt.Sprintf("; %s were quarantined", count(p.Quarantined))
	}
	return s
}

// quote adds the words of an object, if there is one that can be read.
func (x *Explainer) quote(ctx context.Context, o *events.Object) string {
	if o == nil || x.objects == nil {
		return ""
	}
	b, err := x.objects.Get(ctx, o.Digest, noteLimit)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(": %q", strings.TrimSpace(string(b)))
}

func who(e event.Event) string {
	if a := eventlog.Actor(e); a != "" {
		return a
	}
	return "a person"
}

func gates(prefix string, results []events.GateResult) string {
	parts := make([]string, len(results))
	for i, g := range results {
		parts[i] = g.Name
		if len(g.Values) > 0 {
			parts[i] += " (" + values(g.Values) + ")"
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return prefix + strings.Join(parts, ", ")
}

// refusals are the gates that were not passed.
func refusals(results []events.GateResult) []events.GateResult {
	return slices.DeleteFunc(slices.Clone(results), func(g events.GateResult) bool { return g.Passed })
}

func values(m map[string]float64) string {
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+" "+number(m[k]))
	}
	return strings.Join(parts, ", ")
}

func params(m map[string]any) string {
	if len(m) == 0 {
		return "no parameters"
	}
	parts := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s = %v", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

// number writes a measure with at most four digits behind the point.
func number(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(v, 'f', 4, 64), "0"), ".")
}

// count writes 16600 as 16,600.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// short is enough of a digest or id for people to tell two apart.
func short(s string) string {
	s = strings.TrimPrefix(s, "sha256:")
	return s[:min(len(s), 8)]
}

package status

import (
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
)

var projections = map[string]projector{
	// Data and code.
	events.TypeDataArrived: project(events.Parse[events.DataArrived], func(e event.Event, p events.DataArrived, s *Update) {
		s.Outcome, s.Detail = Running, "checking what arrived for "+p.Dataset
		s.Opens = []string{arrival(e.ID())}
		s.Note = "over " + p.Via
	}),
	events.TypeDataChecked: project(events.Parse[events.DataChecked], func(_ event.Event, p events.DataChecked, s *Update) {
		s.Closes = []string{arrival(p.Arrival)}
		s.Note = fmt.Sprintf("%s of %s rows", count(p.Accepted), count(p.Rows))
	}),
	events.TypeDataCommitted: project(events.Parse[events.DataCommitted], func(_ event.Event, p events.DataCommitted, s *Update) {
		s.Outcome, s.Detail = Committed, fmt.Sprintf("commit %d of %s: %s rows", p.Number, p.Dataset, count(p.AddedRows))
		if p.Quarantined > 0 {
			s.Detail += ", " + count(p.Quarantined) + " quarantined"
		}
		s.Note = fmt.Sprintf("#%d, %s rows", p.Number, count(p.AddedRows))
	}),
	events.TypeDataRejected: project(events.Parse[events.DataRejected], func(_ event.Event, p events.DataRejected, s *Update) {
		s.Outcome, s.Detail = Rejected, strings.ReplaceAll(p.Reason, "_", " ")
		if len(p.Failures) > 0 {
			s.Detail += fmt.Sprintf(": %s of %s rows", count(p.Failed), count(p.Rows))
		}
		s.Closes = []string{arrival(p.Arrival)}
		s.Note = p.Reason
	}),
	events.TypeRepositoryConnected: project(events.Parse[events.RepositoryConnected], func(_ event.Event, p events.RepositoryConnected, s *Update) {
		s.Outcome, s.Detail = Connected, "branch "+p.Branch+" is watched"
	}),
	events.TypeCodePushed: project(events.Parse[events.CodePushed], func(_ event.Event, p events.CodePushed, s *Update) {
		s.Outcome, s.Detail = Running, "reading revision "+short(p.Revision)+" of "+p.Repository
		s.Opens = []string{push(p.Repository, p.Revision)}
		s.Note = short(p.Revision)
	}),
	events.TypeCodeArchived: project(events.Parse[events.CodeArchived], func(_ event.Event, p events.CodeArchived, s *Update) {
		s.Closes = []string{push(p.Repository, p.Revision)}
		s.Note = short(p.Revision)
	}),
	events.TypeCodeCommitted: project(events.Parse[events.CodeCommitted], func(_ event.Event, p events.CodeCommitted, s *Update) {
		s.Outcome, s.Detail = Committed, "revision "+short(p.Revision)+" of "+p.Repository
		s.Closes = []string{push(p.Repository, p.Revision)}
		s.Note = short(p.Revision)
	}),
	events.TypeCodeRejected: project(events.Parse[events.CodeRejected], func(_ event.Event, p events.CodeRejected, s *Update) {
		s.Outcome, s.Detail = Rejected, strings.ReplaceAll(p.Reason, "_", " ")
		if len(p.Problems) > 0 {
			s.Detail += fmt.Sprintf(": %s line %d: %s", p.Problems[0].File, p.Problems[0].Line, p.Problems[0].Message)
		}
		s.Closes = []string{push(p.Repository, p.Revision)}
		s.Note = p.Reason
	}),
	events.TypeModelDeclared: project(events.Parse[events.ModelDeclared], func(_ event.Event, p events.ModelDeclared, s *Update) {
		s.Note = p.Model
	}),
	events.TypeFeatureViewDeclared: project(events.Parse[events.FeatureViewDeclared], func(_ event.Event, p events.FeatureViewDeclared, s *Update) {
		s.Note = fmt.Sprintf("%s@%d", p.View, p.Version)
	}),
	events.TypeFeatureViewMaterialized: project(events.Parse[events.FeatureViewMaterialized], func(_ event.Event, p events.FeatureViewMaterialized, s *Update) {
		s.Note = fmt.Sprintf("%s@%d, %s rows", p.View, p.Version, count(p.Rows))
	}),

	// Training.
	events.TypeScheduleTicked: project(events.Parse[events.ScheduleTicked], func(_ event.Event, _ events.ScheduleTicked, s *Update) {
		s.Outcome = Running
	}),
	events.TypeTrainingAsked: project(events.Parse[events.TrainingAsked], func(_ event.Event, p events.TrainingAsked, s *Update) {
		s.Outcome, s.Detail = Running, "a training of "+p.Model+" was asked for"
	}),
	events.TypeTrainingSkipped: project(events.Parse[events.TrainingSkipped], func(_ event.Event, p events.TrainingSkipped, s *Update) {
		s.Outcome, s.Detail, s.Weak = Skipped, strings.ReplaceAll(p.Reason, "_", " "), true
		s.Note = p.Reason
	}),
	events.TypeTrainingRequested: project(events.Parse[events.TrainingRequested], func(e event.Event, p events.TrainingRequested, s *Update) {
		s.Outcome, s.Detail = Running, "training "+p.Model
		s.Opens = []string{training(e.ID())}
		s.Note = "because of " + p.Trigger
	}),
	events.TypeTrainingSetBuilt: project(events.Parse[events.TrainingSetBuilt], func(_ event.Event, p events.TrainingSetBuilt, s *Update) {
		var rows int64
		for _, split := range p.Splits {
			rows += split.Rows
		}
		s.Note = count(rows) + " rows"
	}),
	events.TypeTrainingSetFailed: project(events.Parse[events.TrainingSetFailed], func(_ event.Event, p events.TrainingSetFailed, s *Update) {
		s.Outcome, s.Detail = Failed, "training set: "+strings.ReplaceAll(p.Reason, "_", " ")
		s.Closes = []string{training(p.Request)}
		s.Note = p.Reason
	}),
	events.TypeRunStarted: project(events.Parse[events.RunStarted], func(_ event.Event, p events.RunStarted, s *Update) {
		s.Opens = []string{run(p.Run)}
		s.Note = short(p.Run)
	}),
	events.TypeRunCompleted: project(events.Parse[events.RunCompleted], func(_ event.Event, p events.RunCompleted, s *Update) {
		s.Outcome, s.Detail = Trained, p.Model+" is being measured"
		s.Note = fmt.Sprintf("%.1f s", p.Seconds)
	}),
	events.TypeRunFailed: project(events.Parse[events.RunFailed], func(_ event.Event, p events.RunFailed, s *Update) {
		s.Outcome, s.Detail = Failed, "run failed: "+strings.ReplaceAll(p.Reason, "_", " ")
		s.Weak = p.Reason == "training_set" // whose failure said more
		s.Closes = []string{training(p.Request), run(p.Run)}
		s.Note = p.Reason
	}),
	events.TypeRunCancelled: project(events.Parse[events.RunCancelled], func(_ event.Event, p events.RunCancelled, s *Update) {
		s.Outcome, s.Detail = Cancelled, "run "+short(p.Run)+" was stopped"
		s.Owners = []string{run(p.Run)}
		s.Closes = []string{run(p.Run)}
	}),
	events.TypeCandidateMeasured: project(events.Parse[events.CandidateMeasured], func(_ event.Event, p events.CandidateMeasured, s *Update) {
		s.Outcome, s.Detail = Trained, "measured on "+count(p.Rows)+" rows: "+values(p.Candidate.Metrics)
		s.Closes = []string{training(p.Request), run(p.Run)}
		s.Note = values(p.Candidate.Metrics)
	}),

	// Versions.
	events.TypeModelVersionRegistered: project(events.Parse[events.ModelVersionRegistered], func(_ event.Event, p events.ModelVersionRegistered, s *Update) {
		s.Note = v(p.Version)
	}),
	events.TypeCandidateRefused: project(events.Parse[events.CandidateRefused], func(_ event.Event, p events.CandidateRefused, s *Update) {
		s.Outcome, s.Detail = Refused, v(p.Version)+" refused: "+failed(p.Gates)
		s.Note = v(p.Version) + ": " + failed(p.Gates)
	}),
	events.TypeCandidatePassed: project(events.Parse[events.CandidatePassed], func(_ event.Event, p events.CandidatePassed, s *Update) {
		s.Outcome, s.Detail = Passed, v(p.Version)+" passed every gate"
		s.Note = v(p.Version)
	}),
	events.TypeApprovalRequested: project(events.Parse[events.ApprovalRequested], func(_ event.Event, p events.ApprovalRequested, s *Update) {
		s.Outcome, s.Detail = Waiting, v(p.Version)+" waits for a person for "+p.Environment
		s.Opens = []string{approval(p.Model, p.Version, p.Environment)}
		s.Note = v(p.Version) + " for " + p.Environment
	}),
	events.TypeApprovalGiven: project(events.Parse[events.ApprovalGiven], func(_ event.Event, p events.ApprovalGiven, s *Update) {
		s.Note = v(p.Version) + " for " + p.Environment
	}),
	events.TypeApprovalDenied: project(events.Parse[events.ApprovalDenied], func(_ event.Event, p events.ApprovalDenied, s *Update) {
		s.Note = v(p.Version) + " for " + p.Environment
	}),
	events.TypePromotionAsked: project(events.Parse[events.PromotionAsked], func(_ event.Event, p events.PromotionAsked, s *Update) {
		s.Outcome, s.Detail = Running, v(p.Version)+" was asked for in "+p.Environment
		s.Note = v(p.Version) + " to " + p.Environment
	}),
	events.TypeRollbackAsked: project(events.Parse[events.RollbackAsked], func(_ event.Event, p events.RollbackAsked, s *Update) {
		s.Outcome, s.Detail = Running, p.Environment+" is to go back"
		s.Note = p.Environment
	}),
	events.TypeModelVersionApproved: project(events.Parse[events.ModelVersionApproved], func(_ event.Event, p events.ModelVersionApproved, s *Update) {
		s.Outcome, s.Detail = Approved, v(p.Version)+" approved for "+p.Environment
		s.Owners = []string{approval(p.Model, p.Version, p.Environment)}
		s.Closes = s.Owners
		s.Opens = []string{approved(p.Model, p.Version, p.Environment)}
		s.Note = v(p.Version) + " for " + p.Environment + ", by " + p.By
	}),
	events.TypeModelVersionDenied: project(events.Parse[events.ModelVersionDenied], versionDenied),

	// Rollouts.
	events.TypeRolloutStarted: project(events.Parse[events.RolloutStarted], func(_ event.Event, p events.RolloutStarted, s *Update) {
		s.Outcome, s.Detail = RollingOut, v(p.Version)+" to "+p.Environment
		s.Closes = []string{approved(p.Model, p.Version, p.Environment)}
		s.Opens = []string{rollout(p.Rollout)}
		s.Note = v(p.Version) + " in " + p.Environment
	}),
	events.TypeReplicaReady: project(events.Parse[events.ReplicaReady], func(_ event.Event, p events.ReplicaReady, s *Update) {
		s.Note = fmt.Sprintf("%s, %.0f ms", v(p.Version), p.LoadMS)
	}),
	events.TypeReplicaFailed: project(events.Parse[events.ReplicaFailed], func(_ event.Event, p events.ReplicaFailed, s *Update) {
		s.Note = p.Reason
	}),
	events.TypeRolloutStepped: project(events.Parse[events.RolloutStepped], func(_ event.Event, p events.RolloutStepped, s *Update) {
		s.Outcome, s.Detail = RollingOut, fmt.Sprintf("%s gets %d %% in %s", v(p.Version), p.Weight, p.Environment)
		s.Owners = []string{rollout(p.Rollout)}
		s.Note = fmt.Sprintf("%d %%", p.Weight)
	}),
	events.TypeRolloutCompleted: project(events.Parse[events.RolloutCompleted], func(_ event.Event, p events.RolloutCompleted, s *Update) {
		s.Outcome, s.Detail = Serving, v(p.Version)+" serves in "+p.Environment
		s.Owners = []string{rollout(p.Rollout)}
		s.Closes = s.Owners
		s.Note = v(p.Version) + " in " + p.Environment
	}),
	events.TypeRolloutRolledBack: project(events.Parse[events.RolloutRolledBack], func(_ event.Event, p events.RolloutRolledBack, s *Update) {
		s.Outcome, s.Detail = RolledBack, v(p.Version)+" rolled back in "+p.Environment+": "+strings.ReplaceAll(p.Reason, "_", " ")
		if p.Reason == "superseded" {
			s.Outcome, s.Detail = Overtaken, v(p.Version)+" was overtaken in "+p.Environment
		}
		s.Owners = []string{rollout(p.Rollout)}
		s.Closes = s.Owners
		s.Note = p.Reason
	}),
	events.TypeChampionChanged: project(events.Parse[events.ChampionChanged], func(_ event.Event, p events.ChampionChanged, s *Update) {
		s.Note = v(p.Version) + " in " + p.Environment
	}),

	// What is watched.
	events.TypeWindowClosed: project(events.Parse[events.WindowClosed], func(_ event.Event, p events.WindowClosed, s *Update) {
		s.Outcome, s.Detail = Quiet, "a "+p.Kind+" window of "+p.Model+" in "+p.Environment
		s.Weak = true
		var requests int64
		for _, slice := range p.Slices {
			requests += slice.Requests
		}
		s.Note = fmt.Sprintf("%s, %s predictions", p.Kind, count(requests))
	}),
	events.TypeCanaryJudged: project(events.Parse[events.CanaryJudged], func(_ event.Event, p events.CanaryJudged, s *Update) {
		s.Note = p.Verdict
	}),
	events.TypeDriftDetected: project(events.Parse[events.DriftDetected], func(_ event.Event, p events.DriftDetected, s *Update) {
		s.Trigger, s.Outcome = Drift, Drifted
		s.Detail = fmt.Sprintf("%s: PSI %s", p.Column, number(p.PSI))
		if p.Mean != nil {
			s.Detail += ", mean " + number(*p.Mean)
		}
		s.Note = fmt.Sprintf("%s, PSI %s", p.Column, number(p.PSI))
	}),
	events.TypeSkewDetected: project(events.Parse[events.SkewDetected], func(_ event.Event, p events.SkewDetected, s *Update) {
		s.Trigger, s.Outcome, s.Detail = Drift, Drifted, p.Column+" differs from training"
		s.Note = p.Column
	}),
	events.TypeQualityDegraded: project(events.Parse[events.QualityDegraded], func(_ event.Event, p events.QualityDegraded, s *Update) {
		s.Trigger, s.Outcome, s.Detail = Quality, Degraded, p.Alarm+": "+values(p.Values)
		s.Note = p.Alarm
	}),
	events.TypeAlertRaised: project(events.Parse[events.AlertRaised], func(_ event.Event, p events.AlertRaised, s *Update) {
		s.Outcome, s.Detail, s.Weak = Alerted, p.Name+": "+values(p.Values), true
		s.Trigger = Quality
		if p.Kind == Drift {
			s.Trigger = Drift
		}
		s.Note = p.Name
	}),
	events.TypeAlertResolved: project(events.Parse[events.AlertResolved], func(_ event.Event, p events.AlertResolved, s *Update) {
		s.Outcome, s.Detail, s.Weak = Resolved, "an alert of "+p.Model+" in "+p.Environment+" ended", true
	}),
	events.TypeGapFound: project(events.Parse[events.GapFound], func(_ event.Event, p events.GapFound, s *Update) {
		s.Outcome, s.Detail = Alarm, fmt.Sprintf("the log and its archive differ at %d", p.Sequence)
	}),
	events.TypeNoteAdded: project(events.Parse[events.NoteAdded], func(_ event.Event, p events.NoteAdded, s *Update) {
		s.Outcome, s.Detail, s.Weak = Noted, "on "+p.On, true
	}),
}

func versionDenied(_ event.Event, p events.ModelVersionDenied, s *Update) {
	s.Owners = []string{approval(p.Model, p.Version, p.Environment), approved(p.Model, p.Version, p.Environment)}
	s.Closes = s.Owners
	s.Model, s.Version = p.Model, p.Version
	s.Note = v(p.Version) + ": " + p.Reason
	s.Outcome = Denied
	s.Detail = fmt.Sprintf("%s does not go to %s: %s", v(p.Version), p.Environment, strings.ReplaceAll(p.Reason, "_", " "))
	switch p.Reason {
	case "overtaken":
		s.Outcome, s.Fallback = Overtaken, VersionRipple
	case "rolled_back":
		s.Outcome, s.Fallback = RolledBack, NoRipple // its rollout has said so
	case "observe":
		s.Outcome, s.Detail = Passed, v(p.Version)+" passed; the model only observes"
	}
}

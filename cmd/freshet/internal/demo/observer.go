package demo

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
)

// An observer reads the log and prints one line for each ripple that matters, with its
// outcome. It collects what the final report needs.
type observer struct {
	mu  sync.Mutex
	out io.Writer
	tty bool

	stored   map[string]time.Time // when the log's server stored an event, real time
	hops     []float64            // ms from a cause in the log to the decision in the log
	triggers map[string]string    // ripple → what set its training in motion, in words

	versions []*version
	rollouts []rollout
	active   map[string]events.RolloutStarted
	steps    map[string][]string // rollout → weights it went through
	drift    []drift
	sets     []events.TrainingSetBuilt
	measured []events.CandidateMeasured
	serving  map[string]int64 // environment → version
	waiting  map[string]bool  // versions and environments that wait for a person
	rejected int
	parked   int
	count    int

	seen  map[string]int // events by type
	taken map[string]int // of those, how many await has consumed
	more  chan struct{}  // closed at the next event
}

type version struct {
	Version  int64   `json:"version"`
	AUC      float64 `json:"auc"`
	NaiveAUC float64 `json:"naive_auc"`
	LogLoss  float64 `json:"log_loss"`
	Gates    string  `json:"gates"`
	Trigger  string  `json:"trigger"`

	registered events.ModelVersionRegistered
}

type rollout struct {
	Environment string `json:"environment"`
	Version     int64  `json:"version"`
	Canary      bool   `json:"canary"`
	Outcome     string `json:"outcome"`
	Reason      string `json:"reason,omitempty"`
}

type drift struct {
	At        string  `json:"at"`
	Column    string  `json:"column"`
	Kind      string  `json:"kind"`
	PSI       float64 `json:"psi"`
	Threshold float64 `json:"threshold"`
}

func newObserver(out io.Writer, tty bool) *observer {
	return &observer{out: out, tty: tty, stored: map[string]time.Time{}, triggers: map[string]string{},
		active: map[string]events.RolloutStarted{}, steps: map[string][]string{}, serving: map[string]int64{}, waiting: map[string]bool{},
		seen: map[string]int{}, taken: map[string]int{}, more: make(chan struct{})}
}

// await returns when an event of a type has come that no earlier await has taken.
func (s *observer) await(ctx context.Context, typ string) error {
	return s.when(ctx, func() bool {
		if s.taken[typ] == s.seen[typ] {
			return false
		}
		s.taken[typ]++
		return true
	})
}

// caughtUp returns when the observer has read so many events.
func (s *observer) caughtUp(ctx context.Context, events int) error {
	return s.when(ctx, func() bool { return s.count >= events })
}

// when returns when a condition holds, which it looks at after each event. A suite may
// take as long as it needs; one in which nothing happens for long is given up.
func (s *observer) when(ctx context.Context, holds func() bool) error {
	idle := time.NewTimer(idleTimeout)
	defer idle.Stop()
	for {
		s.mu.Lock()
		if holds() {
			s.mu.Unlock()
			return nil
		}
		more := s.more
		s.mu.Unlock()
		select {
		case <-more:
			idle.Reset(idleTimeout)
		case <-idle.C:
			return fmt.Errorf("nothing more was in the log for %s", idleTimeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *observer) print(at time.Time, format string, args ...any) {
	if s.tty {
		_, _ = fmt.Fprint(s.out, "\r\033[K")
	}
	// What happens at midnight closes the day before.
	_, _ = fmt.Fprintf(s.out, "%s  %s\n", at.Add(-time.Nanosecond).Format("02 Jan"), fmt.Sprintf(format, args...))
}

// progress shows where the suite's clock stands.
func (s *observer) progress(at time.Time, asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty {
		_, _ = fmt.Fprintf(s.out, "\r\033[K%s  %d flights asked, %d events", at.Format("02 Jan 15:04"), asked, s.count)
	} else if at.Hour() == 0 && at.Minute() == 0 && (at.Day()-6)%5 == 0 {
		_, _ = fmt.Fprintf(s.out, "%s  … %d flights asked, %d events\n", at.Format("02 Jan"), asked, s.count)
	}
}

func extension(e event.Event, name string) string {
	v, _ := e.Extensions()[name].(string)
	return v
}

// read takes the next event of the log, and when the log's server stored it.
func (s *observer) read(e event.Event, stored time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.seen[e.Type()]++
	close(s.more)
	s.more = make(chan struct{})
	s.stored[e.ID()] = stored
	if cause, ok := s.stored[extension(e, "causationid")]; ok && events.IsDecision(e.Type()) {
		s.hops = append(s.hops, float64(stored.Sub(cause).Microseconds())/1000)
	}
	if strings.HasSuffix(e.Type(), ".event_parked") {
		s.parked++
		s.print(e.Time(), "parked: %s", e.Data())
		return nil
	}
	return s.line(e)
}

// line says what is worth a line and keeps what the report needs.
func (s *observer) line(e event.Event) error {
	ripple, at := extension(e, "correlationid"), e.Time()
	switch e.Type() {
	case events.TypeDataRejected:
		p, err := events.Parse[events.DataRejected](e)
		if err != nil {
			return err
		}
		s.rejected++
		share := ""
		if p.Rows > 0 {
			share = fmt.Sprintf(": %.0f %% of %d rows", 100*float64(p.Failed)/float64(p.Rows), p.Rows)
		}
		for _, f := range p.Failures {
			share += fmt.Sprintf(", %s", f.Rule)
		}
		s.print(at, "a file for %s rejected, %s%s", p.Dataset, words(p.Reason), share)
	case events.TypeCodeRejected:
		p, err := events.Parse[events.CodeRejected](e)
		if err != nil {
			return err
		}
		s.rejected++
		for _, m := range p.Problems {
			s.print(at, "code %.7s rejected: %s:%d: %s; %s", p.Revision, m.File, m.Line, m.Message, m.Fix)
		}
	case events.TypeCodeCommitted:
		p, err := events.Parse[events.CodeCommitted](e)
		if err != nil {
			return err
		}
		s.print(at, "code %.7s committed: %s", p.Revision, strings.Join(p.Models, ", "))
	case events.TypeDriftDetected:
		p, err := events.Parse[events.DriftDetected](e)
		if err != nil {
			return err
		}
		s.drift = append(s.drift, drift{p.To.Format("2006-01-02"), p.Column, p.Kind, p.PSI, p.Threshold})
		t := "drift: "
		if p.Mean != nil && p.ReferenceMean != nil {
			t += fmt.Sprintf("%s %.0f %%, was %.0f %%, ", words(p.Column), 100**p.Mean, 100**p.ReferenceMean)
		} else {
			t += words(p.Column) + ", "
		}
		s.triggers[ripple] = t + fmt.Sprintf("PSI %.2f", p.PSI)
	case events.TypeTrainingRequested:
		p, err := events.Parse[events.TrainingRequested](e)
		if err != nil {
			return err
		}
		switch p.Trigger {
		case "data":
			s.triggers[ripple] = fmt.Sprintf("data: commit %d", p.Data[0].Number)
		case "code":
			s.triggers[ripple] = fmt.Sprintf("code %.7s", p.Code.Revision)
		case "drift":
		default:
			s.triggers[ripple] = p.Trigger
		}
	case events.TypeTrainingSkipped:
		p, err := events.Parse[events.TrainingSkipped](e)
		if err != nil {
			return err
		}
		if p.Trigger == "drift" {
			s.print(at, "%s → not retrained: %s", s.triggers[ripple], words(p.Reason))
		}
	case events.TypeRunFailed:
		p, err := events.Parse[events.RunFailed](e)
		if err != nil {
			return err
		}
		if p.Reason == "training_set" {
			return nil // told when the training set failed
		}
		s.print(at, "%s → training failed: %s", s.triggers[ripple], words(p.Reason))
	case events.TypeTrainingSetFailed:
		p, err := events.Parse[events.TrainingSetFailed](e)
		if err != nil {
			return err
		}
		s.print(at, "%s → no training set: %s", s.triggers[ripple], words(p.Reason))
	default:
		return s.versionLine(e, ripple, at)
	}
	return nil
}

// versionLine is line for what happens to versions and rollouts.
func (s *observer) versionLine(e event.Event, ripple string, at time.Time) error {
	switch e.Type() {
	case events.TypeTrainingSetBuilt:
		p, err := events.Parse[events.TrainingSetBuilt](e)
		if err != nil {
			return err
		}
		s.sets = append(s.sets, p)
	case events.TypeCandidateMeasured:
		p, err := events.Parse[events.CandidateMeasured](e)
		if err != nil {
			return err
		}
		s.measured = append(s.measured, p)
	case events.TypeModelVersionRegistered:
		p, err := events.Parse[events.ModelVersionRegistered](e)
		if err != nil {
			return err
		}
		s.versions = append(s.versions, &version{Version: p.Version, AUC: p.Candidate.Metrics["auc"], NaiveAUC: p.Naive.Metrics["auc"],
			LogLoss: p.Candidate.Metrics["log_loss"], Trigger: s.triggers[ripple], registered: p})
	case events.TypeCandidatePassed:
		p, err := events.Parse[events.CandidatePassed](e)
		if err != nil {
			return err
		}
		if v := s.version(p.Version); v != nil {
			v.Gates = "passed"
			s.print(at, "%s → retrained → v%d passed: AUC %.3f beside naive %.3f, log loss %.4f%s", v.Trigger, v.Version, v.AUC, v.NaiveAUC, v.LogLoss, championLoss(v))
		}
	case events.TypeCandidateRefused:
		p, err := events.Parse[events.CandidateRefused](e)
		if err != nil {
			return err
		}
		if v := s.version(p.Version); v != nil {
			v.Gates = "refused"
			s.print(at, "%s → retrained → v%d refused: %s", v.Trigger, v.Version, refusal(p.Gates))
		}
	case events.TypeApprovalRequested:
		p, err := events.Parse[events.ApprovalRequested](e)
		if err != nil {
			return err
		}
		s.waiting[fmt.Sprint(p.Environment, p.Version)] = true
	case events.TypeModelVersionDenied:
		p, err := events.Parse[events.ModelVersionDenied](e)
		if err != nil {
			return err
		}
		delete(s.waiting, fmt.Sprint(p.Environment, p.Version))
	case events.TypeModelVersionApproved:
		p, err := events.Parse[events.ModelVersionApproved](e)
		if err != nil {
			return err
		}
		delete(s.waiting, fmt.Sprint(p.Environment, p.Version))
		if p.By == "person" {
			s.print(at, "v%d approved for %s by a person", p.Version, p.Environment)
		}
	case events.TypeRolloutStarted:
		p, err := events.Parse[events.RolloutStarted](e)
		if err != nil {
			return err
		}
		s.active[p.Rollout] = p
	case events.TypeRolloutStepped:
		p, err := events.Parse[events.RolloutStepped](e)
		if err != nil {
			return err
		}
		s.steps[p.Rollout] = append(s.steps[p.Rollout], fmt.Sprintf("%d %%", p.Weight))
	case events.TypeRolloutCompleted:
		p, err := events.Parse[events.RolloutCompleted](e)
		if err != nil {
			return err
		}
		steps := s.steps[p.Rollout]
		s.rollouts = append(s.rollouts, rollout{Environment: p.Environment, Version: p.Version, Outcome: "completed", Canary: len(steps) > 0})
		if len(steps) > 0 {
			s.print(at, "v%d serves %s, after a canary of %s", p.Version, p.Environment, strings.Join(steps, ", "))
		} else {
			s.print(at, "v%d serves %s", p.Version, p.Environment)
		}
	case events.TypeRolloutRolledBack:
		p, err := events.Parse[events.RolloutRolledBack](e)
		if err != nil {
			return err
		}
		s.rollouts = append(s.rollouts, rollout{Environment: p.Environment, Version: p.Version, Outcome: "rolled_back", Reason: p.Reason,
			Canary: len(s.steps[p.Rollout]) > 0})
		s.print(at, "v%d rolled back in %s: %s", p.Version, p.Environment, words(p.Reason))
	case events.TypeChampionChanged:
		p, err := events.Parse[events.ChampionChanged](e)
		if err != nil {
			return err
		}
		s.serving[p.Environment] = p.Version
	}
	return nil
}

func (s *observer) version(n int64) *version {
	for _, v := range s.versions {
		if v.Version == n {
			return v
		}
	}
	return nil
}

// waits reports whether something waits for a person.
func (s *observer) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) > 0
}

func championLoss(v *version) string {
	if c := v.registered.Champion; c != nil {
		return fmt.Sprintf(" (champion v%d %.4f)", c.Version, c.Metrics["log_loss"])
	}
	return ""
}

var comparison = regexp.MustCompile(`candidate\.(\w+) (<|<=|>|>=) champion\.(\w+)`)

// refusal says which gates failed, with the numbers they saw.
func refusal(gates []events.GateResult) string {
	var said []string
	negated := map[string]string{"<": "≥", "<=": ">", ">": "≤", ">=": "<"}
	for _, g := range gates {
		if g.Passed {
			continue
		}
		m := comparison.FindStringSubmatch(g.CEL)
		if m != nil && m[1] == m[3] {
			a, okA := g.Values["candidate."+m[1]]
			b, okB := g.Values["champion."+m[1]]
			if okA && okB {
				said = append(said, fmt.Sprintf("%s %.4f %s %.4f", words(m[1]), a, negated[m[2]], b))
				continue
			}
		}
		names := make([]string, 0, len(g.Values))
		for k := range g.Values {
			names = append(names, k)
		}
		sort.Strings(names)
		text := g.Name + " (" + g.CEL
		for _, k := range names {
			text += fmt.Sprintf("; %s %.3f", k, g.Values[k])
		}
		said = append(said, text+")")
	}
	return strings.Join(said, ", ")
}

func words(s string) string {
	s = strings.ReplaceAll(s, "__", " ")
	return strings.NewReplacer("_", " ", ":", " ").Replace(s)
}

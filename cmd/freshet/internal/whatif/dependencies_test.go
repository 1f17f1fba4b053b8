package whatif

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/stretchr/testify/require"
)

var day = time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC)

func hours(n int) time.Duration { return time.Duration(n) * time.Hour }

// of is an event of the model m, as far as this package looks at one.
func of(id, typ, cause, payload string) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetType(typ)
	e.SetSubject("m")
	e.SetExtension("namespace", "default")
	e.SetExtension("correlationid", id)
	if cause != "" {
		e.SetExtension("causationid", cause)
	}
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(payload)
	return e
}

func registered(id string, version int) event.Event {
	return of(id, events.TypeModelVersionRegistered, "", `{"model":"m","version":`+strconv.Itoa(version)+`}`)
}

// other is a simulation in which v1 was champion in production and is not, v2 does not
// exist, and v3 is unknown.
func other() *simulation {
	v := newVersions()
	s := &simulation{
		q: Question{Namespace: "default", Spec: events.ModelSpec{Model: "m"}}, declared: &events.ModelDeclared{}, versions: v,
		environments: &environments{v, map[string]*environment{}},
		replayed: map[string]replayed{
			"v2": {dropped, events.TypeModelVersionRegistered}, "v3": {unknown, events.TypeModelVersionRegistered},
			"begun": {dropped, events.TypeRunStarted}, "fine": {happens, events.TypeRunStarted},
		},
		requests: map[string]request{
			"job":     {environment: [2]string{"production", "production"}, job: true},
			"builtin": {environment: [2]string{"production", "production"}},
		},
		runs:     map[string]string{"r2": "begun", "r1": "fine"},
		unknowns: map[string]bool{},
	}
	s.rules.spec = s.q.Spec
	for i, id := range []string{"v1", "v2", "v3"} {
		v.register(then, registered(id, i+1))
	}
	v.register(now, registered("v1", 1))
	s.environments.follow(then, of("c", events.TypeChampionChanged, "", `{"model":"m","environment":"production","version":1}`))
	return s
}

func TestAFactDependsOnMoreThanItsCause(t *testing.T) {
	t.Parallel()
	const tick = `{"model":"m","tick":"2001-01-06T03:00:00Z","missed":0}`
	for name, c := range map[string]struct {
		typ, cause, payload string
		was, is             string // schedules
		outcome             outcome
		why                 string
	}{
		"a root that names nothing": {typ: events.TypeTrainingAsked, payload: `{"model":"m"}`},
		"its cause does not happen": {typ: events.TypeReplicaReady, cause: "begun", payload: `{"model":"m"}`, outcome: dropped},
		"its cause does, what it names not": {typ: events.TypeNoteAdded, cause: "fine", payload: `{"on":"begun"}`, outcome: dropped,
			why: "note_added at 7 depends on run_started, which does not happen"},
		"a contributor does not": {typ: events.TypeTrainingSetBuilt, cause: "fine", payload: `{"model":"m","contributors":["fine","begun"]}`,
			outcome: dropped, why: "training_set_built at 7 depends on run_started, which does not happen"},
		"a version that is there": {typ: events.TypePromotionAsked, payload: `{"model":"m","environment":"staging","version":1}`},
		"a version that is not": {typ: events.TypePromotionAsked, payload: `{"model":"m","environment":"staging","version":2}`, outcome: dropped,
			why: "promotion_asked at 7 depends on model_version_registered, which does not happen"},
		"a version that is unknown": {typ: events.TypePromotionAsked, payload: `{"model":"m","environment":"staging","version":3}`, outcome: unknown,
			why: "promotion_asked at 7 depends on model_version_registered, which differs"},
		"a view's version is no model's": {typ: events.TypeFeatureViewMaterialized, payload: `{"model":"m","view":"w","version":2}`},
		"a run that is there":            {typ: events.TypeCancelAsked, payload: `{"model":"m","run":"r1"}`},
		"a run that is not": {typ: events.TypeCancelAsked, payload: `{"model":"m","run":"r2"}`, outcome: dropped,
			why: "cancel_asked at 7 depends on run_started, which does not happen"},
		"a job that began with the champion": {typ: events.TypeRunCompleted, cause: "fine", payload: `{"model":"m","request":"job"}`, outcome: unknown,
			why: "run_completed at 7 started from v1, and there is no champion"},
		"a builtin that did not": {typ: events.TypeRunCompleted, cause: "fine", payload: `{"model":"m","request":"builtin"}`},
		"a measurement against the champion": {typ: events.TypeCandidateMeasured, cause: "fine", payload: `{"model":"m","request":"builtin"}`, outcome: unknown,
			why: "candidate_measured at 7 was compared with v1, and there is no champion"},
		"a rollback where nothing serves": {typ: events.TypeRollbackAsked, payload: `{"model":"m","environment":"production"}`, outcome: dropped,
			why: "rollback_asked at 7 is about production, where nothing serves"},
		"the same schedule": {typ: events.TypeScheduleTicked, payload: tick, was: "@daily", is: "@daily"},
		"another schedule": {typ: events.TypeScheduleTicked, payload: tick, was: "@daily", is: "@hourly", outcome: unknown,
			why: `schedule_ticked at 7 is about the schedule "@daily"`},
		"no schedule any more": {typ: events.TypeScheduleTicked, payload: tick, was: "@daily", outcome: dropped,
			why: `schedule_ticked at 7 is about the schedule "@daily"`},
	} {
		s := other()
		s.declared.Spec.Retrain.Schedule, s.rules.spec.Retrain.Schedule = c.was, c.is
		f, why := s.assess(7, of("e", c.typ, c.cause, c.payload))
		require.Equal(t, c.outcome, f, name)
		require.Equal(t, c.why, why, name)
	}
}

func TestWhatIsUnknownOfAModelIsNotSaidNotToHappen(t *testing.T) {
	t.Parallel()
	s := other()
	asked := of("e", events.TypeRollbackAsked, "", `{"model":"m","environment":"production"}`)
	s.unknowns["default/m"] = true
	f, why := s.assess(7, asked)
	require.Equal(t, unknown, f)
	require.Equal(t, "rollback_asked at 7 is about production, where the serving version is unknown", why)

	s = other()
	s.unknowns["default/another"] = true
	f, _ = s.assess(7, asked)
	require.Equal(t, dropped, f)
}

func TestAVersionIsTheSameWhateverItsNumber(t *testing.T) {
	t.Parallel()
	v := newVersions()
	for i, id := range []string{"a", "b", "c"} {
		v.register(then, registered(id, i+1))
	}
	v.register(now, registered("a", 1))
	const window = `{"model":"m","environment":"p","version":3,"slices":[{"version":1},{"version":3}],"champion":{"version":3,"metrics":{"auc":0.50}},"previous":1}`
	e := of("e", events.TypeWindowClosed, "", window)
	require.Equal(t, window, string(v.renumber(e, then, now).Data()), "while all numbers are the same, nothing is touched")
	v.register(now, registered("c", 2))
	got := v.renumber(e, then, now)
	require.JSONEq(t, `{"model":"m","environment":"p","version":2,"slices":[{"version":1},{"version":2}],"champion":{"version":2,"metrics":{"auc":0.50}},"previous":1}`, string(got.Data()))
	require.Contains(t, string(got.Data()), "0.50", "other numbers stay as they are written")
	require.JSONEq(t, window, string(v.renumber(got, now, then).Data()))
	view := of("e", events.TypeFeatureViewMaterialized, "", `{"model":"m","view":"w","version":3}`)
	require.Equal(t, view.Data(), v.renumber(view, then, now).Data())
	elsewhere := of("e", events.TypeWindowClosed, "", `{"model":"n","version":3}`)
	require.JSONEq(t, string(elsewhere.Data()), string(v.renumber(elsewhere, then, now).Data()))
}

// An environment is the same while the same versions serve and come, however often it
// was not before.
func TestAnEnvironmentThatWasAnotherIsNotTheSameSinceBefore(t *testing.T) {
	t.Parallel()
	s := other()
	at := func(hour int) (e event.Event) {
		e = of("e", events.TypeRolloutCompleted, "", `{"model":"m","environment":"q","rollout":"r","version":1}`)
		e.SetTime(day.Add(hours(hour)))
		return e
	}
	p := s.environments.of("default/m", "q")
	require.True(t, p.same(day))
	s.environments.follow(then, at(1))
	s.environments.compare(at(1).Time())
	require.False(t, p.same(day.Add(hours(1))))
	s.environments.follow(now, at(5))
	s.environments.compare(at(5).Time())
	require.False(t, p.same(day.Add(hours(4))), "it was another at that time")
	require.True(t, p.same(day.Add(hours(5))))
}

func TestWhatADecisionDecidesIsNotTheRuleItQuotes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typ, was, is string
		alike        bool
	}{
		"a gate's text": {events.TypeCandidatePassed, `{"model":"m","version":1,"gates":[{"name":"g","cel":"a > 1","passed":true}]}`,
			`{"model":"m","version":1,"gates":[{"name":"g","cel":"a > 0","passed":true}]}`, true},
		"another version":         {events.TypeCandidatePassed, `{"model":"m","version":1,"gates":[]}`, `{"model":"m","version":2,"gates":[]}`, false},
		"a definition's digest":   {events.TypeTrainingRequested, `{"model":"m","spec_digest":"a"}`, `{"model":"m","spec_digest":"b"}`, true},
		"a contributor":           {events.TypeTrainingRequested, `{"model":"m","contributors":["a"]}`, `{"model":"m","contributors":["b"]}`, false},
		"a threshold":             {events.TypeDriftDetected, `{"column":"c","threshold":0.2}`, `{"column":"c","threshold":0.3}`, true},
		"another column":          {events.TypeDriftDetected, `{"column":"c","threshold":0.2}`, `{"column":"d","threshold":0.2}`, false},
		"a verdict":               {events.TypeCanaryJudged, `{"verdict":"pass","rules":[]}`, `{"verdict":"fail","rules":[]}`, false},
		"the steps of a rollout":  {events.TypeRolloutStarted, `{"rollout":"r","steps":[10]}`, `{"rollout":"r","steps":[20]}`, false},
		"the rollout of approval": {events.TypeModelVersionApproved, `{"rollout":{"canary":[10]}}`, `{"rollout":{"canary":[20]}}`, true},
		"who approved":            {events.TypeModelVersionApproved, `{"by":"rule"}`, `{"by":"person"}`, false},
	} {
		require.True(t, json.Valid([]byte(c.was)) && json.Valid([]byte(c.is)), name)
		require.Equal(t, c.alike, alike(of("e", c.typ, "", c.was), of("e", c.typ, "", c.is)), name)
	}
	require.False(t, alike(of("e", events.TypeCandidatePassed, "", `{}`), of("e", events.TypeCandidateRefused, "", `{}`)))
}

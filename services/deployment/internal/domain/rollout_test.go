package domain

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever happens to a rollout in whatever order: its weight is one of its
// steps' or 0 or 100, steps only grow, it ends once, and nothing moves it after.
func TestRolloutKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := Rollout{ID: "r", Version: 2, State: Loading, Kind: Promotion,
			Steps: rapid.SliceOfN(rapid.Int64Range(1, 99), 0, 4).Draw(t, "steps")}
		if rapid.Bool().Draw(t, "serves") {
			one := int64(1)
			r.Previous = &one
		}
		wasReady, ended := false, 0
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			before := r
			var m Move
			var ok bool
			step := rapid.Int64Range(0, 4).Draw(t, "step")
			event := rapid.SampledFrom([]string{"ready", "failed", "pass", "fail", "due", "person"}).Draw(t, "event")
			switch event {
			case "ready":
				m, ok = r.Ready()
				wasReady = wasReady || ok
			case "failed":
				m, ok = r.Failed()
			case "pass":
				m, ok = r.Judged(step, true)
			case "fail":
				m, ok = r.Judged(step, false)
			case "due":
				m, ok = r.Due(step)
			case "person":
				m, ok = r.Back(ByPerson)
			}
			if !ok {
				continue
			}
			r = r.After(m)
			if !before.Open() {
				t.Fatalf("%s moved an ended rollout", event)
			}
			if r.Step < before.Step || r.Step > before.Step+1 {
				t.Fatalf("%s moved from step %d to %d", event, before.Step, r.Step)
			}
			switch r.State {
			case Completed:
				ended++
				if !wasReady || r.Weight != 100 {
					t.Fatalf("completed with weight %d, ready %v", r.Weight, wasReady)
				}
				if r.Previous != nil && len(r.Steps) > 0 && r.Step != int64(len(r.Steps))-1 {
					t.Fatalf("completed after step %d of %d", r.Step, len(r.Steps))
				}
			case RolledBack:
				ended++
				if r.Weight != 0 || m.Reason == "" {
					t.Fatalf("rolled back with weight %d and reason %q", r.Weight, m.Reason)
				}
			case Stepping:
				if !wasReady || r.Previous == nil || r.Weight != r.Steps[r.Step] {
					t.Fatalf("step %d has weight %d", r.Step, r.Weight)
				}
			default:
				t.Fatalf("moved to %s", r.State)
			}
		}
		if ended > 1 {
			t.Fatalf("ended %d times", ended)
		}
	})
}

func TestAResultOfAnotherStepIsLate(t *testing.T) {
	t.Parallel()
	one := int64(1)
	r := Rollout{State: Stepping, Step: 1, Weight: 50, Steps: []int64{10, 50}, Previous: &one}
	_, moved := r.Judged(0, false)
	require.False(t, moved)
	_, moved = r.Due(0)
	require.False(t, moved)
	m, moved := r.Judged(1, true)
	require.True(t, moved)
	require.Equal(t, Completed, m.To)
}

func TestSplitIsStickyAndInProportion(t *testing.T) {
	t.Parallel()
	seed := Seed("rollout-1")
	for _, weight := range []int64{1, 10, 50, 90} {
		n := 0
		for i := range 100_000 {
			key := "2001-01-06/" + strconv.Itoa(i)
			if Candidate(seed, key, weight) {
				n++
				require.True(t, Candidate(seed, key, 95), "a key leaves the candidate as its weight grows")
			}
		}
		require.InDelta(t, float64(weight)*1000, float64(n), 500)
	}
	require.False(t, Candidate(seed, "k", 0))
	require.True(t, Candidate(seed, "k", 100))
	differs := false
	for i := range 100 {
		key := strconv.Itoa(i)
		differs = differs || Candidate(seed, key, 50) != Candidate(Seed("rollout-2"), key, 50)
	}
	require.True(t, differs, "two rollouts sample the same keys")
}

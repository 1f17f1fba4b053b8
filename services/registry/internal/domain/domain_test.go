package domain_test

import (
	"testing"

	"github.com/freshet-io/freshet/services/registry/internal/domain"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever stands in an environment: exactly one thing happens to the version that
// comes there, nothing happens without a person that the mode forbids, and only older
// versions are overtaken.
func TestRoute(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := domain.Arrival{
			Version:   rapid.Int64Range(1, 9).Draw(t, "version"),
			Mode:      rapid.SampledFrom([]domain.Mode{domain.Observe, domain.Propose, domain.Act}).Draw(t, "mode"),
			Approve:   rapid.SampledFrom([]string{"auto", "approver"}).Draw(t, "approve"),
			Withdrawn: rapid.Bool().Draw(t, "withdrawn"),
		}
		stages := rapid.SampledFrom([]domain.Stage{domain.Asked, domain.Approved, domain.Denied, domain.Champion, domain.Former})
		newer := false
		for v := int64(1); v <= 9; v++ {
			if v == a.Version || !rapid.Bool().Draw(t, "stands") {
				continue
			}
			s := domain.Standing{Version: v, Stage: stages.Draw(t, "stage")}
			newer = newer || v > a.Version && s.Stage != domain.Denied && s.Stage != domain.Former
			a.Standing = append(a.Standing, s)
		}
		o := domain.Route(a)
		outcomes := 0
		for _, is := range []bool{o.Approve, o.Ask, o.Deny != ""} {
			if is {
				outcomes++
			}
		}
		require.Equal(t, 1, outcomes)
		require.False(t, o.Approve && (a.Mode != domain.Act || a.Approve != domain.ApproveAuto))
		require.Equal(t, a.Withdrawn || a.Mode == domain.Observe || newer, o.Deny != "")
		for _, v := range o.Overtakes {
			require.Less(t, v, a.Version)
			require.Empty(t, o.Deny, "a version that does not go there overtakes nothing")
		}
	})
}

func TestNext(t *testing.T) {
	t.Parallel()
	next, more := domain.Next(0, 2)
	require.True(t, more)
	require.Equal(t, 1, next)
	_, more = domain.Next(1, 2)
	require.False(t, more)
	_, more = domain.Next(-1, 2)
	require.False(t, more)
}

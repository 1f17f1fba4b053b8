package domain_test

import (
	"testing"
	"time"

	"github.com/freshet-io/freshet/services/training/internal/domain"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ready() domain.Model {
	return domain.Model{Declared: true, HasData: true, Mode: "act", When: []string{"data", "code", "drift", "quality", "schedule"},
		DataCommits: 3, CommitsSince: 3, Cooldown: time.Hour, PerDay: 4, GiveUpAfter: 3}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	now := time.Date(2001, 1, 6, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		change  func(*domain.Model)
		trigger string
		want    string
	}{
		"all is well":                       {func(*domain.Model) {}, domain.Data, ""},
		"never declared":                    {func(m *domain.Model) { *m = domain.Model{} }, domain.Person, domain.NoCode},
		"withdrawn":                         {func(m *domain.Model) { m.Withdrawn = true }, domain.Person, domain.Withdrawn},
		"only observed":                     {func(m *domain.Model) { m.Mode = "observe" }, domain.Drift, domain.Mode},
		"only observed, a person wants it":  {func(m *domain.Model) { m.Mode = "observe" }, domain.Person, ""},
		"proposing trains":                  {func(m *domain.Model) { m.Mode = "propose" }, domain.Data, ""},
		"not in the list":                   {func(m *domain.Model) { m.When = nil }, domain.Quality, domain.NotAskedFor},
		"not in the list, a person":         {func(m *domain.Model) { m.When = nil }, domain.Person, ""},
		"no data":                           {func(m *domain.Model) { m.HasData = false }, domain.Person, domain.NoData},
		"second of three commits":           {func(m *domain.Model) { m.CommitsSince = 2 }, domain.Data, domain.WaitingForCommits},
		"commits do not matter to drift":    {func(m *domain.Model) { m.CommitsSince = 0 }, domain.Drift, ""},
		"running":                           {func(m *domain.Model) { m.Running = true }, domain.Person, domain.Running},
		"runaway":                           {func(m *domain.Model) { m.SinceNews, m.PerDay = domain.RunawayLimit, 0 }, domain.Drift, domain.Runaway},
		"the day's budget":                  {func(m *domain.Model) { m.Today = 4 }, domain.Person, domain.PerDay},
		"no budget":                         {func(m *domain.Model) { m.Today, m.PerDay = 400, 0 }, domain.Data, ""},
		"given up":                          {func(m *domain.Model) { m.WithoutPass = 3 }, domain.Drift, domain.GiveUp},
		"given up, but new code":            {func(m *domain.Model) { m.WithoutPass = 3 }, domain.Code, ""},
		"cooling down":                      {func(m *domain.Model) { m.Last = now.Add(-time.Hour + 1) }, domain.Schedule, domain.Cooldown},
		"cooled down":                       {func(m *domain.Model) { m.Last = now.Add(-time.Hour) }, domain.Schedule, ""},
		"code does not wait for a cooldown": {func(m *domain.Model) { m.Last = now }, domain.Code, ""},
	} {
		m := ready()
		c.change(&m)
		require.Equal(t, c.want, domain.Refuse(m, c.trigger, now), name)
	}
}

// Whatever comes in whatever order: the rules of a model hold.
func TestRulesHoldUnderAnySequence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := domain.Model{Declared: true, HasData: true, Mode: "act", When: []string{"data", "code", "drift"},
			DataCommits: rapid.Int64Range(1, 4).Draw(t, "commits"), Cooldown: time.Duration(rapid.IntRange(0, 300).Draw(t, "cooldown")) * time.Minute,
			PerDay: rapid.Int64Range(1, 6).Draw(t, "per day"), GiveUpAfter: rapid.Int64Range(0, 4).Draw(t, "give up")}
		now := time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC)
		var requests []time.Time
		day := func() (n int64) {
			for _, at := range requests {
				if at.After(now.Add(-24 * time.Hour)) {
					n++
				}
			}
			return n
		}
		try := func(trigger string) {
			m.Today = day()
			if domain.Refuse(m, trigger, now) != "" {
				return
			}
			require.False(t, m.Running, "two at once")
			if trigger == domain.Drift || trigger == domain.Data {
				require.False(t, len(requests) > 0 && now.Sub(requests[len(requests)-1]) < m.Cooldown, "within the cooldown")
				require.True(t, m.GiveUpAfter == 0 || m.WithoutPass < m.GiveUpAfter, "after giving up")
			}
			requests = append(requests, now)
			require.LessOrEqual(t, day(), m.PerDay)
			m.Running, m.Last, m.CommitsSince = true, now, 0
			m.SinceNews++
			require.LessOrEqual(t, m.SinceNews, int64(domain.RunawayLimit))
		}
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "minutes")) * time.Minute)
			},
			"data": func(*rapid.T) { m.CommitsSince++; m.SinceNews, m.WithoutPass = 0, 0; try(domain.Data) },
			"code": func(*rapid.T) { m.SinceNews, m.WithoutPass = 0, 0; try(domain.Code) },
			"drift": func(*rapid.T) {
				try(domain.Drift)
			},
			"person": func(*rapid.T) { m.SinceNews, m.WithoutPass = 0, 0; try(domain.Person) },
			"fails": func(*rapid.T) {
				if m.Running {
					m.Running = false
					m.WithoutPass++
				}
			},
			"passes": func(*rapid.T) {
				if m.Running {
					m.Running, m.WithoutPass = false, 0
				}
			},
		})
	})
}

func TestOnlyCodeIsRemembered(t *testing.T) {
	t.Parallel()
	require.Equal(t, domain.UntilTheEnd, domain.Remember(domain.Code, domain.Running))
	require.Equal(t, domain.UntilMoreData, domain.Remember(domain.Code, domain.NoData))
	require.Equal(t, domain.UntilMoreData, domain.Remember(domain.Code, domain.PerDay))
	require.Equal(t, domain.NotWaiting, domain.Remember(domain.Code, domain.NotAskedFor))
	require.Equal(t, domain.NotWaiting, domain.Remember(domain.Drift, domain.Running))
}

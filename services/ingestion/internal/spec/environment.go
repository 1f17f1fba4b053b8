package spec

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"go.yaml.in/yaml/v4"
)

func defaultRollout() events.RolloutSpec {
	return events.RolloutSpec{Canary: []int64{}, Requests: 100, AtLeast: events.Duration(5 * time.Minute), AtMost: events.Duration(24 * time.Hour)}
}

// environments reads the stages, in order of promotion.
func (p *parser) environments(x value) []events.EnvironmentSpec {
	entries, ok := x.entries()
	if ok && len(entries) == 0 {
		x.problem("there are no environments", "name at least one, such as {production: {approve: approver}}, or remove the key")
	}
	out := []events.EnvironmentSpec{}
	for _, e := range entries {
		if !e.keyIdent("an environment") {
			continue
		}
		env := events.EnvironmentSpec{Environment: e.key, Approve: "approver", Rollout: defaultRollout()}
		f, ok := e.value.mapping("approve", "rollout", "rollback_if")
		if !ok {
			continue
		}
		if y, ok := f.get("approve"); ok {
			env.Approve = p.approve(y)
		}
		if y, ok := f.get("rollout"); ok {
			env.Rollout = p.rollout(y)
		}
		if y, ok := f.get("rollback_if"); ok {
			env.RollbackIf = p.rules(y, "a rollback rule", canaryScope())
		}
		out = append(out, env)
	}
	return out
}

// approve reads who approves. A person's name looks like a choice to make here,
// but people are given the role elsewhere.
func (p *parser) approve(y value) string {
	if n := y.node(); n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		word := "approver"
		if strings.EqualFold(n.Value, "true") {
			word = "auto"
		}
		y.problem(y.name()+" is true or false, not a way to approve", fmt.Sprintf("write %q instead", word))
		return "approver"
	}
	if s, ok := y.choice("auto", "approver"); ok {
		return s
	}
	return "approver"
}

func (p *parser) rollout(y value) events.RolloutSpec {
	r := defaultRollout()
	f, ok := y.mapping("canary", "step")
	if !ok {
		return r
	}
	if z, ok := f.get("canary"); ok {
		r.Canary = p.canary(z)
	}
	atMost := false
	if z, ok := f.get("step"); ok {
		if g, ok := z.mapping("requests", "at_least", "at_most"); ok {
			if w, ok := g.get("requests"); ok {
				if n, ok := w.integer(0, 1e12); ok {
					r.Requests = n
				}
			}
			if w, ok := g.get("at_least"); ok {
				if d, ok := w.duration(); ok {
					r.AtLeast = events.Duration(d)
				}
			}
			if w, ok := g.get("at_most"); ok {
				if d, ok := w.positive(); ok {
					atMost = true
					r.AtMost = d
					if d < r.AtLeast {
						w.problem("a step lasts at most "+short(d)+" but at least "+short(r.AtLeast), "write at_most above at_least")
					}
				}
			}
		}
	}
	if !atMost {
		r.AtMost = max(r.AtMost, 4*r.AtLeast)
	}
	return r
}

func (p *parser) canary(z value) []int64 {
	steps := []int64{}
	items, _ := z.list()
	for _, item := range items {
		n := item.node()
		if n.Kind == yaml.ScalarNode {
			if number, isPercent := strings.CutSuffix(n.Value, "%"); isPercent {
				item.problem(item.name()+" has a % sign", "write the bare number: "+number)
				continue
			}
			if f, err := strconv.ParseFloat(n.Value, 64); err == nil && f > 0 && f < 1 {
				item.problem(item.name()+" is "+n.Value+"; steps are in per cent of traffic", fmt.Sprintf("write %g", f*100))
				continue
			}
			if n.Value == "100" {
				item.problem("the last step, 100, is always taken and not written", "remove 100 from canary:")
				continue
			}
		}
		s, ok := item.integer(1, 99)
		if !ok {
			continue
		}
		if len(steps) > 0 && s <= steps[len(steps)-1] {
			item.problem(fmt.Sprintf("step %d does not come after %d", s, steps[len(steps)-1]), "write the steps in rising order, such as [10, 50]")
			continue
		}
		steps = append(steps, s)
	}
	return steps
}

func short(d events.Duration) string {
	s := time.Duration(d).String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

package spec

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/robfig/cron/v3"
	"go.yaml.in/yaml/v4"
)

// metricsOf are the metrics that the suite measures of every candidate, by task.
var metricsOf = map[string][]string{
	"binary-classification": {"auc", "log_loss", "brier", "accuracy"},
	"regression":            {"rmse", "mae", "r2"},
}

// qualityOf are those it measures of what is live, once labels arrive.
var qualityOf = map[string][]string{
	"binary-classification": {"auc", "log_loss", "brier"},
	"regression":            {"rmse", "mae", "r2"},
}

var defaultMetrics = map[string][]string{
	"binary-classification": {"auc", "log_loss"},
	"regression":            {"rmse", "mae"},
}

var builtins = []string{"logistic-regression"}

func (p *parser) model(v value) {
	f, ok := v.mapping("model", "owner", "description", "goal", "task", "examples", "features", "request", "prediction", "training",
		"evaluate", "gates", "environments", "monitor", "retrain", "mode")
	if !ok {
		return
	}
	m := events.ModelSpec{
		Task: "binary-classification", Features: []events.ViewUse{}, Request: []events.TypedField{},
		Prediction: []events.TypedField{{Name: "score", Type: "float"}}, Gates: []events.Rule{},
		Monitor: events.MonitorSpec{Window: events.Duration(time.Hour), PSI: 0.25}, Mode: "act",
	}
	named := false
	if x, ok := f.need("model", "add model: and its name"); ok {
		if m.Model, ok = x.ident(); ok {
			named = p.define("model", m.Model, x)
		}
	}
	m.Owner, _ = p.about(f)
	if x, ok := f.get("task"); ok {
		if s, ok := x.choice("binary-classification", "regression"); ok {
			m.Task = s
		}
	}
	m.Metrics = defaultMetrics[m.Task]
	if x, ok := f.get("evaluate"); ok {
		p.evaluate(x, &m)
	}
	if x, ok := f.get("goal"); ok {
		p.goal(x, &m)
	}
	if x, ok := f.need("examples", `add examples: {dataset: flights, label: "delay > 15"}`); ok {
		p.examples(x, &m)
	}
	if x, ok := f.get("features"); ok {
		p.uses(x, &m)
	}
	if x, ok := f.get("request"); ok {
		m.Request = p.typed(x)
	}
	if x, ok := f.get("prediction"); ok {
		if m.Prediction = p.typed(x); len(m.Prediction) == 0 && x.node().Kind == yaml.MappingNode && len(x.node().Content) == 0 {
			x.problem("the model predicts nothing", "name what it answers, such as {late: float}")
		}
	}
	if x, ok := f.need("training", "add training: {builtin: logistic-regression} or training: {command: [python, -m, train]}"); ok {
		m.Training = p.training(x, m.Task)
	}
	if x, ok := f.get("gates"); ok {
		m.Gates = append(m.Gates, p.rules(x, "a gate", gateScope(m.Task))...)
	}
	m.Environments = []events.EnvironmentSpec{{Environment: "production", Approve: "approver", Rollout: defaultRollout()}}
	if x, ok := f.get("environments"); ok {
		m.Environments = p.environments(x)
	}
	if x, ok := f.get("monitor"); ok {
		p.monitor(x, &m)
	}
	m.Retrain = p.retrain(f)
	if x, ok := f.get("mode"); ok {
		if s, ok := x.choice("observe", "propose", "act"); ok {
			m.Mode = s
		}
	}
	p.consistent(f, &m)
	if named {
		p.out.Models = append(p.out.Models, m)
	}
}

func (p *parser) goal(x value, m *events.ModelSpec) {
	f, ok := x.mapping("statement", "why_ml", "kpi")
	if !ok {
		return
	}
	g := &events.Goal{}
	if y, ok := f.get("statement"); ok {
		g.Statement, _ = y.text()
	}
	if y, ok := f.get("why_ml"); ok {
		g.WhyML, _ = y.text()
	}
	if y, ok := f.get("kpi"); ok {
		if k, ok := y.mapping("metric", "window", "min"); ok {
			kpi := &events.KPI{Window: events.Duration(7 * 24 * time.Hour)}
			good := true
			if z, ok := k.need("metric", "name one of "+strings.Join(qualityOf[m.Task], ", ")); ok {
				kpi.Metric, ok = z.choice(qualityOf[m.Task]...)
				good = good && ok
			} else {
				good = false
			}
			if z, ok := k.get("window"); ok {
				kpi.Window, _ = z.positive()
			}
			if z, ok := k.need("min", "add min:, the value that is good enough"); ok {
				kpi.Min, _ = z.float(-1e300, 1e300)
			}
			if good {
				g.KPI = kpi
			}
		}
	}
	m.Goal = g
}

func (p *parser) examples(x value, m *events.ModelSpec) {
	day := events.Duration(24 * time.Hour)
	e := events.ExamplesSpec{Validation: day, Test: day}
	f, ok := x.mapping("dataset", "label", "label_wait", "split", "history")
	if !ok {
		return
	}
	if y, ok := f.need("dataset", "name the dataset whose rows are the examples"); ok {
		if e.Dataset, ok = y.ident(); ok {
			p.refer("dataset", e.Dataset, y, "datasets")
		}
	}
	if y, ok := f.need("label", `add label: with an SQL expression over the row, such as "delay > 15"`); ok {
		e.Label, _ = p.expression(y)
	}
	if y, ok := f.get("label_wait"); ok {
		d, _ := y.duration()
		e.LabelWait = events.Duration(d)
	}
	if y, ok := f.get("split"); ok {
		if g, ok := y.mapping("validation", "test"); ok {
			if z, ok := g.get("validation"); ok {
				e.Validation, _ = z.positive()
			}
			if z, ok := g.get("test"); ok {
				e.Test, _ = z.positive()
			}
		}
	}
	if y, ok := f.get("history"); ok {
		if d, ok := y.positive(); ok {
			if d <= e.Validation+e.Test {
				y.problem("the history leaves nothing to train on: it is not longer than validation and test together", "write a longer history")
			} else {
				e.History = &d
			}
		}
	}
	m.Examples = e
}

func (p *parser) uses(x value, m *events.ModelSpec) {
	items, _ := x.list()
	seen := map[string]bool{}
	for _, item := range items {
		s, ok := item.text()
		if !ok {
			continue
		}
		name, version, pinned := strings.Cut(s, "@")
		u := events.ViewUse{View: name}
		if !namePattern.MatchString(name) {
			item.problem(fmt.Sprintf("%q is no view", s), `write a view's name, with a version if it is to stay: "route_delays@2"`)
			continue
		}
		if pinned {
			n, err := strconv.ParseInt(version, 10, 32)
			if err != nil || n < 1 {
				item.problem(fmt.Sprintf("%q has no version after the @", s), fmt.Sprintf("write a number from 1, such as %q, or %q for the newest", name+"@2", name))
				continue
			}
			u.Version = n
		}
		if seen[name] {
			item.problem(fmt.Sprintf("the view %q is used twice", name), "remove one of the two")
			continue
		}
		seen[name] = true
		p.refer("view", name, item, "features")
		m.Features = append(m.Features, u)
	}
}

// typed reads {name: type}.
func (p *parser) typed(x value) []events.TypedField {
	out := []events.TypedField{}
	entries, _ := x.entries()
	for _, e := range entries {
		if t, ok := e.value.choice(types...); ok {
			out = append(out, events.TypedField{Name: e.key, Type: t})
		}
	}
	return out
}

func (p *parser) training(x value, task string) events.TrainingSpec {
	t := events.TrainingSpec{CPU: 1, MemoryBytes: 2 << 30, Timeout: events.Duration(time.Hour)}
	f, ok := x.mapping("command", "builtin", "image", "notebook", "runtime", "resources", "params")
	if !ok {
		return t
	}
	for _, kind := range []string{"image", "notebook"} {
		if y, ok := f.get(kind); ok {
			y.problem(fmt.Sprintf("this version cannot train from %s:", kind), "use command: with what is to run in the archived code, or builtin:")
		}
	}
	command, hasCommand := f.get("command")
	builtin, hasBuiltin := f.get("builtin")
	_, hasImage := f.get("image")
	_, hasNotebook := f.get("notebook")
	switch {
	case hasCommand && hasBuiltin:
		builtin.problem("training has a command and a builtin", "keep one of the two")
	case hasCommand:
		items, _ := command.list()
		for _, item := range items {
			if item.node().Kind == yaml.ScalarNode && item.node().ShortTag() != "!!null" {
				t.Command = append(t.Command, item.node().Value)
			} else {
				item.text()
			}
		}
		if len(items) == 0 && command.node().Kind == yaml.SequenceNode {
			command.problem("the command is empty", "write the program and its arguments: [python, -m, train]")
		}
	case hasBuiltin:
		if s, ok := builtin.choice(builtins...); ok {
			t.Builtin = s
			if task != "binary-classification" {
				builtin.problem(fmt.Sprintf("%s cannot be trained for task %s", s, task), "use task: binary-classification, or a command: of your own")
			}
		}
	case !hasImage && !hasNotebook:
		f.need("command", "add command: [python, -m, train] or builtin: logistic-regression")
	}
	if y, ok := f.get("runtime"); ok {
		entries, _ := y.entries()
		for _, e := range entries {
			if s, ok := e.value.text(); ok {
				if t.Runtime == nil {
					t.Runtime = map[string]string{}
				}
				t.Runtime[e.key] = s
			}
		}
	}
	if y, ok := f.get("resources"); ok {
		if g, ok := y.mapping("cpu", "memory", "timeout"); ok {
			if z, ok := g.get("cpu"); ok {
				if n, ok := z.float(0.1, 1024); ok {
					t.CPU = n
				}
			}
			if z, ok := g.get("memory"); ok {
				if n, ok := z.size(); ok {
					t.MemoryBytes = n
					if n < 64<<20 {
						z.problem("no training runs in less than 64MiB", "write at least 64MiB")
					}
				}
			}
			if z, ok := g.get("timeout"); ok {
				if d, ok := z.positive(); ok {
					t.Timeout = d
				}
			}
		}
	}
	if y, ok := f.get("params"); ok {
		if entries, ok := y.entries(); ok {
			t.Params = map[string]any{}
			for _, e := range entries {
				if a, ok := e.value.any(); ok {
					t.Params[e.key] = a
				}
			}
		}
	}
	return t
}

func (p *parser) evaluate(x value, m *events.ModelSpec) {
	f, ok := x.mapping("metrics", "slices", "challenge")
	if !ok {
		return
	}
	if y, ok := f.get("metrics"); ok {
		items, _ := y.list()
		var metrics []string
		for _, item := range items {
			if s, ok := item.choice(metricsOf[m.Task]...); ok && !contains(metrics, s) {
				metrics = append(metrics, s)
			}
		}
		if len(items) == 0 && y.node().Kind == yaml.SequenceNode {
			y.problem("nothing is measured", "name at least one of "+strings.Join(metricsOf[m.Task], ", "))
		}
		if len(metrics) > 0 {
			m.Metrics = metrics
		}
	}
	if y, ok := f.get("slices"); ok {
		m.Slices = p.columns(y)
	}
	if y, ok := f.get("challenge"); ok {
		m.Challenge = p.columns(y)
	}
}

func (p *parser) monitor(x value, m *events.ModelSpec) {
	f, ok := x.mapping("window", "drift", "alarms")
	if !ok {
		return
	}
	if y, ok := f.get("window"); ok {
		if d, ok := y.positive(); ok {
			m.Monitor.Window = d
		}
	}
	if y, ok := f.get("drift"); ok {
		if g, ok := y.mapping("psi"); ok {
			if z, ok := g.get("psi"); ok {
				if n, ok := z.float(0, 100); ok {
					m.Monitor.PSI = n
				}
			}
		}
	}
	if y, ok := f.get("alarms"); ok {
		m.Monitor.Alarms = p.rules(y, "an alarm", liveScope(m.Task))
	}
}

func (p *parser) retrain(model fields) events.RetrainSpec {
	t := events.RetrainSpec{When: []string{"code", "drift", "quality"}, Cooldown: events.Duration(time.Hour), PerDay: 10, GiveUpAfter: 5}
	x, ok := model.get("retrain")
	if !ok {
		return t
	}
	f, ok := x.mapping("when", "data_commits", "schedule", "cooldown", "per_day", "give_up_after")
	if !ok {
		return t
	}
	if y, ok := f.get("when"); ok {
		t.When = []string{}
		items, _ := y.list()
		for _, item := range items {
			if s, ok := item.choice("data", "code", "drift", "quality", "schedule", "person"); ok && !contains(t.When, s) {
				t.When = append(t.When, s)
			}
		}
	}
	// Saying how often is saying that: data_commits and schedule add their reason.
	if y, ok := f.get("data_commits"); ok {
		if n, ok := y.integer(1, 1000000); ok {
			t.DataCommits = n
			if !contains(t.When, "data") {
				t.When = append(t.When, "data")
			}
		}
	} else if contains(t.When, "data") {
		t.DataCommits = 1
	}
	if y, ok := f.get("schedule"); ok {
		if s, ok := y.text(); ok && y.cron(s) {
			t.Schedule = s
			if !contains(t.When, "schedule") {
				t.When = append(t.When, "schedule")
			}
		}
	} else if contains(t.When, "schedule") {
		f.need("schedule", `add schedule: "0 3 * * *", or remove schedule from when`)
	}
	if y, ok := f.get("cooldown"); ok {
		if d, ok := y.duration(); ok {
			t.Cooldown = events.Duration(d)
		}
	}
	if y, ok := f.get("per_day"); ok {
		if n, ok := y.integer(1, 10000); ok {
			t.PerDay = n
		}
	}
	if y, ok := f.get("give_up_after"); ok {
		if n, ok := y.integer(1, 10000); ok {
			t.GiveUpAfter = n
		}
	}
	return t
}

func (v value) cron(s string) bool {
	parts := strings.Fields(s)
	fix := `write minute, hour, day of month, month and day of week, such as "0 3 * * *" for every night at three`
	if len(parts) != 5 {
		v.problem(fmt.Sprintf("%q has %d fields; a schedule has five", s, len(parts)), fix)
		return false
	}
	if _, err := cron.ParseStandard(s); err != nil {
		v.problem(fmt.Sprintf("%q is no schedule: %s", s, strings.TrimPrefix(err.Error(), "failed to parse ")), fix)
		return false
	}
	return true
}

// consistent checks what needs the views that a model uses.
func (p *parser) consistent(f fields, m *events.ModelSpec) {
	request, features := map[string]bool{}, map[string]bool{}
	for _, r := range m.Request {
		request[r.Name] = true
	}
	uses, _ := f.get("features")
	evaluate, hasEvaluate := f.get("evaluate")
	p.later = append(p.later, func() {
		all := true
		for i, u := range m.Features {
			w, ok := p.views[u.View]
			if !ok && p.o.Known != nil {
				w, ok = p.o.Known.Views[u.View]
			}
			if !ok {
				all = false
				continue
			}
			for _, x := range w.Features {
				features[x.Name] = true
			}
			at := uses
			if n := uses.node(); n.Kind == yaml.SequenceNode && i < len(n.Content) {
				at = value{r: uses.r, n: n.Content[i], path: fmt.Sprintf("features[%d]", i)}
			}
			for _, key := range w.Entity {
				if !request[key.Column] {
					at.problem(fmt.Sprintf("the view %q is looked up by the column %q, which requests do not have", u.View, key.Column),
						fmt.Sprintf("add %s to request:, such as request: {%s: string}", key.Column, key.Column))
				}
			}
		}
		if !hasEvaluate || !all {
			return
		}
		g := fields{value: evaluate}
		if entries, ok := (value{r: &reader{problems: new([]events.Problem)}, n: evaluate.n}).entries(); ok {
			for _, e := range entries {
				if e.key != "slices" {
					continue
				}
				items, ok := (value{r: g.r, n: e.value.n, path: "evaluate.slices"}).list()
				for i := 0; ok && i < len(items); i++ {
					s := items[i].node().Value
					if !request[s] && !features[s] {
						var names []string
						for _, r := range m.Request {
							names = append(names, r.Name)
						}
						fix := "name a column of request: or a feature"
						if near := nearest(s, names); near != "" {
							fix = fmt.Sprintf("write %q instead", near)
						}
						items[i].problem(fmt.Sprintf("there is no column %q to slice by", s), fix)
					}
				}
			}
		}
	})
}

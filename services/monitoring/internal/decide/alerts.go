package decide

import (
	"context"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/rules"
	"github.com/freshet-io/freshet/services/monitoring/internal/domain"
	"github.com/freshet-io/freshet/services/monitoring/internal/state"
	"github.com/google/uuid"
)

// trafficMetrics are live metrics that need no labels; alarms over others are
// about quality.
var trafficMetrics = map[string]bool{"live.error_rate": true, "live.p50_ms": true, "live.p99_ms": true, "live.requests": true}

// decisions are those about one window of traffic or of quality.
type decisions struct {
	eventlog.Decisions
	ns     string
	cause  string
	db     eventlog.Reader
	window events.WindowClosed
}

// drift finds the column that moved furthest. One window makes one
// drift_detected, so that it leads to one training, however many columns moved.
func (d *decisions) drift(ctx context.Context, threshold float64) error {
	var worst *events.ColumnDrift
	judged := false
	for i := range d.window.Drift {
		c := &d.window.Drift[i]
		if c.Rows < domain.FewestRows {
			continue
		}
		judged = true
		if c.PSI > threshold && (worst == nil || c.PSI > worst.PSI) {
			worst = c
		}
	}
	if !judged || threshold <= 0 {
		return nil
	}
	alert := "drift"
	if d.window.Kind == domain.Quality {
		alert = "label drift"
	}
	if worst == nil {
		return d.resolve(ctx, "drift", alert)
	}
	var version int64
	if d.window.Version != nil {
		version = *d.window.Version
	}
	d.Add(events.NewDriftDetected(d.ns, d.window.Model, events.DriftDetected{
		Model: d.window.Model, Environment: d.window.Environment, Version: version, Column: worst.Column, Kind: worst.Kind,
		PSI: worst.PSI, Threshold: threshold, Mean: worst.Mean, ReferenceMean: worst.ReferenceMean, From: d.window.From, To: d.window.To}))
	return d.raise(ctx, "drift", alert, map[string]float64{"psi": worst.PSI, "threshold": threshold})
}

// alarm evaluates the alarms that this window can tell something about: those
// that name a metric it carries, and only metrics that were ever seen. A degraded
// quality is said once per window, by the first alarm that finds it.
func (d *decider) alarm(ctx context.Context, out *decisions, alarms []events.Rule) error {
	if len(alarms) == 0 || len(out.window.Live) == 0 {
		return nil
	}
	p := out.window
	live, err := state.Live(ctx, out.db, out.ns, p.Model, p.Environment)
	if err != nil {
		return err
	}
	degraded := false
	for _, r := range alarms {
		res := d.alarms.Evaluate(r.CEL, rules.Maps{"live": live})
		news, quality := false, false
		for _, name := range res.Names {
			_, fresh := p.Live[strings.TrimPrefix(name, "live.")]
			news = news || fresh
			quality = quality || !trafficMetrics[name]
		}
		if !news || len(res.Values) < len(res.Names) || res.Failed {
			continue
		}
		kind := "alarm"
		if quality {
			kind = "quality"
		}
		if !res.True {
			if err := out.resolve(ctx, kind, r.Name); err != nil {
				return err
			}
			continue
		}
		if quality && !degraded && p.Version != nil {
			degraded = true
			out.Add(events.NewQualityDegraded(out.ns, p.Model, events.QualityDegraded{
				Model: p.Model, Environment: p.Environment, Version: *p.Version, Alarm: r.Name, Values: res.Values, From: p.From, To: p.To}))
		}
		if err := out.raise(ctx, kind, r.Name, res.Values); err != nil {
			return err
		}
	}
	return nil
}

// raise raises an alert unless it is open already.
func (d *decisions) raise(ctx context.Context, kind, name string, values map[string]float64) error {
	open, err := state.OpenAlert(ctx, d.db, d.ns, d.window.Model, d.window.Environment, kind, name)
	if err != nil || open != "" {
		return err
	}
	id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(d.cause+"/"+kind+"/"+name)).String()
	d.Add(events.NewAlertRaised(d.ns, id, events.AlertRaised{
		Alert: id, Model: d.window.Model, Environment: d.window.Environment, Kind: kind, Name: name, Values: values}))
	return nil
}

func (d *decisions) resolve(ctx context.Context, kind, name string) error {
	open, err := state.OpenAlert(ctx, d.db, d.ns, d.window.Model, d.window.Environment, kind, name)
	if err != nil || open == "" {
		return err
	}
	d.Add(events.NewAlertResolved(d.ns, open, events.AlertResolved{Alert: open, Model: d.window.Model, Environment: d.window.Environment}))
	return nil
}

package eventlog

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	recorded, applied prometheus.Counter
}

// newMetrics registers the log's metrics. A log that takes the place of an older
// one in the same process takes its metrics too.
func newMetrics(reg prometheus.Registerer, l *Log) (*metrics, error) {
	labels := prometheus.Labels{"service": l.service}
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "freshet", Name: name, Help: help, ConstLabels: labels}
	}
	m := &metrics{
		recorded: prometheus.NewCounter(prometheus.CounterOpts(opts("events_recorded_total", "Facts and decisions put in the outbox."))),
		applied:  prometheus.NewCounter(prometheus.CounterOpts(opts("events_applied_total", "Events of the log that the position moved past."))),
	}
	if reg == nil {
		return m, nil
	}
	locked := func(read func() float64) func() float64 {
		return func() float64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			return read()
		}
	}
	for _, c := range []prometheus.Collector{
		m.recorded, m.applied,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("log_held_up", "1 while something outside holds up a part of the log; it goes on by itself.")), func() float64 {
			held, _ := l.troubles()
			return oneIf(held)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("log_stopped", "1 where a part of the log stopped for good: a gap, or an event that is not the one that was recorded or applied.")), func() float64 {
			_, stopped := l.troubles()
			return oneIf(stopped)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("relay_lag_events", "Events in the outbox that are not in the log.")), func() float64 { return float64(l.relay.lag()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("processor_lag_events", "Events of the log that are not applied, as far as is known.")), locked(func() float64 {
			return max(0, float64(l.end.Load())-float64(l.mem.sequence))
		})),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("parked_events", "Events that are parked or wait behind one that is.")), locked(func() float64 { return float64(len(l.mem.parked)) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("open_effects", "Effects that no fact has closed.")), func() float64 { return float64(l.work.count()) }),
	} {
		err := reg.Register(c)
		var there prometheus.AlreadyRegisteredError
		if errors.As(err, &there) {
			reg.Unregister(there.ExistingCollector)
			err = reg.Register(c)
		}
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

func oneIf(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// troubles says whether a part of the log waits for something, and whether one
// stopped on an alarm.
func (l *Log) troubles() (held, stopped bool) {
	for i := range l.trouble {
		p := l.trouble[i].Load()
		if p == nil {
			continue
		}
		var a *alarm
		if errors.As(*p, &a) {
			stopped = true
		} else {
			held = true
		}
	}
	return held, stopped
}

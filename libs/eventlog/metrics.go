package eventlog

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	recorded, applied prometheus.Counter
}

func newMetrics(service string) *metrics {
	opts := metricOpts(service)
	return &metrics{
		recorded: prometheus.NewCounter(prometheus.CounterOpts(opts("events_recorded_total", "Facts and decisions put in the outbox."))),
		applied:  prometheus.NewCounter(prometheus.CounterOpts(opts("events_applied_total", "Events of the log that the position moved past."))),
	}
}

func metricOpts(service string) func(name, help string) prometheus.Opts {
	labels := prometheus.Labels{"service": service}
	return func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "freshet", Name: name, Help: help, ConstLabels: labels}
	}
}

// register registers the log's metrics. A log that takes the place of an older one in the
// same process takes its metrics too.
func (m *metrics) register(reg prometheus.Registerer, l *Log) error {
	if reg == nil {
		return nil
	}
	opts := metricOpts(l.engine.Service())
	for _, c := range []prometheus.Collector{
		m.recorded, m.applied,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("log_stalled", "1 while a part of the log is stalled by something outside; "+
			"it recovers by itself.")), func() float64 {
			stalled, _ := l.board.Any()
			return oneIf(stalled)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("log_stopped", "1 where a part of the log stopped for good: a gap, or an event that is not the "+
			"one that was recorded or applied.")), func() float64 {
			_, stopped := l.board.Any()
			return oneIf(stopped)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("relay_lag_events", "Events in the outbox that are not in the log.")),
			func() float64 { return float64(l.outbox.Relay.Lag()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("processor_lag_events", "Events of the log that are not applied, as far as is known.")), func() float64 {
			return max(0, float64(l.source.End())-float64(l.engine.Position()))
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("parked_events", "Events that are parked or wait behind one that is.")), func() float64 {
			parked, waiting := l.engine.Parked()
			return float64(parked + waiting)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("open_effects", "Effects that no fact has closed.")),
			func() float64 { return float64(l.scheduler.Count()) }),
	} {
		err := reg.Register(c)
		var registered prometheus.AlreadyRegisteredError
		if errors.As(err, &registered) {
			reg.Unregister(registered.ExistingCollector)
			err = reg.Register(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func oneIf(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

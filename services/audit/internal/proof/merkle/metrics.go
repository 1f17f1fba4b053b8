package merkle

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Measure registers the metrics; an alarm belongs on freshet_audit_altered.
func (l *Log) Measure(metrics prometheus.Registerer) error {
	return errors.Join(
		metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "freshet_audit_checkpoint_size", Help: "Messages under the newest signed checkpoint.",
		}, func() float64 { return float64(l.Newest().Size) })),
		metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "freshet_audit_altered", Help: "1 while the archive is not what was signed, or has a gap or a record with another digest.",
		}, func() float64 {
			if l.Altered() {
				return 1
			}
			return 0
		})),
	)
}

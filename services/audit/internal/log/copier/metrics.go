package copier

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Measure registers the copier's metrics; an alarm belongs on freshet_audit_gap.
func (c *Copier) Measure(metrics prometheus.Registerer) error {
	return errors.Join(
		metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "freshet_audit_archived_sequence", Help: "Sequence of the last message known to be in the archive.",
		}, func() float64 { return float64(c.Archived()) })),
		metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "freshet_audit_gap", Help: "1 while the log does not continue its archive.",
		}, func() float64 {
			if c.InGap() {
				return 1
			}
			return 0
		})),
	)
}

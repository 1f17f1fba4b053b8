package suite

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// nearlyFull is the part of the log's room that is worth an alarm.
	nearlyFull = 0.9
	// leastFree is what PostgreSQL, Kafka and objects need to go on for a while.
	leastFree = 256 << 20
)

// ready says what is wrong with the servers, check by check.
func (i *Infrastructure) ready() map[string]string {
	wrong := map[string]string{}
	if err := i.nats.Healthy(); err != nil {
		// A store that could not write stays so when there is room again.
		wrong["log"] = err.Error() + "; if its disk was full, free space and start freshet again"
	}
	if used, limit, err := i.nats.Store(); err == nil && limit > 0 && float64(used) >= nearlyFull*float64(limit) {
		wrong["store"] = fmt.Sprintf("the log's store holds %d of %d MB: give it a larger disk", used>>20, limit>>20)
	}
	if free, err := natsserver.Free(i.dir); err != nil {
		wrong["disk"] = err.Error()
	} else if free < leastFree {
		wrong["disk"] = fmt.Sprintf("only %d MB are left in %s: free some space", free>>20, i.dir)
	}
	return wrong
}

// measure registers what alarms about the servers rest on.
func (i *Infrastructure) measure(metrics prometheus.Registerer) error {
	gauge := func(name, help string, read func() float64) error {
		return metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	return errors.Join(
		gauge("freshet_store_used_bytes", "What the log's store holds.", func() float64 { used, _, _ := i.nats.Store(); return float64(used) }),
		gauge("freshet_store_limit_bytes", "What the log's store may hold: a reserve of the disk is left.", func() float64 { _, limit, _ := i.nats.Store(); return float64(limit) }),
		gauge("freshet_log_last_sequence", "The log's last sequence, 0 where its server does not say.", func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
			defer cancel()
			end, err := i.end(ctx)
			if err != nil {
				return 0
			}
			return float64(end)
		}),
		gauge("freshet_disk_free_bytes", "Space left where the data directory is.", func() float64 {
			free, err := natsserver.Free(i.dir)
			if err != nil {
				return 0
			}
			return float64(free)
		}),
		gauge("freshet_server_unready_checks", "Checks of the servers that find something wrong.", func() float64 { return float64(len(i.ready())) }),
	)
}

package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"

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
		wrong["log"] = err.Error() + "; if its disk is full, free some space: it heals by itself"
	}
	if used, limit, err := i.nats.Store(); err == nil && limit > 0 && float64(used) >= nearlyFull*float64(limit) {
		wrong["store"] = fmt.Sprintf("the log's store holds %d of %d MB: give it a larger disk", used>>20, limit>>20)
	}
	var full []string
	for _, dir := range i.disks() {
		if free, err := natsserver.Free(dir); err != nil {
			full = append(full, err.Error())
		} else if free < leastFree {
			full = append(full, fmt.Sprintf("only %d MB are left in %s: free some space", free>>20, dir))
		}
	}
	if len(full) > 0 {
		wrong["disk"] = strings.Join(full, "; ")
	}
	return wrong
}

// disks are the directories that something is written to, one of each file system.
func (i *Infrastructure) disks() []string {
	var dirs []string
	seen := map[any]bool{}
	for _, dir := range []string{i.dir, filepath.Join(i.dir, "postgres"), filepath.Join(i.dir, "nats"), filepath.Join(i.dir, "kafka"), i.objects()} {
		info, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) { // PostgreSQL may be elsewhere
			continue
		}
		if err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && seen[st.Dev] {
				continue
			} else if ok {
				seen[st.Dev] = true
			}
		}
		dirs = append(dirs, dir)
	}
	return dirs
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
		gauge("freshet_disk_free_bytes", "Space left on the fullest of the suite's disks.", func() float64 {
			least := int64(math.MaxInt64)
			for _, dir := range i.disks() {
				free, err := natsserver.Free(dir)
				if err != nil {
					return 0
				}
				least = min(least, free)
			}
			return float64(least)
		}),
		gauge("freshet_server_unready_checks", "Checks of the servers that find something wrong.", func() float64 { return float64(len(i.ready())) }),
	)
}

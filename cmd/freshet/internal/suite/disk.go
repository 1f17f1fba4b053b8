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
	// nearlyFull is the used part of the log's store above which it is an alarm.
	nearlyFull = 0.9
	// leastFree is the free space that PostgreSQL, Kafka and objects need to continue for a while.
	leastFree = 256 << 20
)

// ready returns the failed checks of the servers, by name.
func (i *Infrastructure) ready() map[string]string {
	wrong := map[string]string{}
	if err := i.nats.Healthy(); err != nil {
		wrong["log"] = err.Error() + "; if its disk is full, free some space: the server then recovers by itself"
	}
	if used, limit, err := i.nats.Store(); err == nil && limit > 0 && float64(used) >= nearlyFull*float64(limit) {
		wrong["store"] = fmt.Sprintf("the log's store uses %d of %d MB: give it a larger disk", used>>20, limit>>20)
	}
	var full []string
	for _, dir := range i.disks() {
		if free, err := natsserver.Free(dir); err != nil {
			full = append(full, err.Error())
		} else if free < leastFree {
			full = append(full, fmt.Sprintf("%s has %d MB of free space: free some", dir, free>>20))
		}
	}
	if len(full) > 0 {
		wrong["disk"] = strings.Join(full, "; ")
	}
	return wrong
}

// disks are the directories that the suite writes to, one of each file system.
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

// measure registers the metrics of the servers' alarms.
func (i *Infrastructure) measure(metrics prometheus.Registerer) error {
	gauge := func(name, help string, read func() float64) error {
		return metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	return errors.Join(
		gauge("freshet_store_used_bytes", "Bytes that the log's store uses.", func() float64 { used, _, _ := i.nats.Store(); return float64(used) }),
		gauge("freshet_store_limit_bytes", "Bytes that the log's store may use; a reserve of the disk stays free.",
			func() float64 { _, limit, _ := i.nats.Store(); return float64(limit) }),
		gauge("freshet_log_last_sequence", "The log's last sequence, 0 where its server does not answer.", func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), pollTimeout)
			defer cancel()
			end, err := i.end(ctx)
			if err != nil {
				return 0
			}
			return float64(end)
		}),
		gauge("freshet_disk_free_bytes", "Free space of the fullest of the suite's disks.", func() float64 {
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
		gauge("freshet_server_unready_checks", "Checks of the servers that fail.", func() float64 { return float64(len(i.ready())) }),
	)
}

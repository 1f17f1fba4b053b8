package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of /proc's times on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// postmasterOf is the process of the server over a data directory.
func postmasterOf(dir string) (int, error) {
	var pid string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "postmaster.pid" {
			b, err := os.ReadFile(path)
			pid, _, _ = strings.Cut(string(b), "\n")
			return err
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(pid))
}

// cpuTime is what this process and PostgreSQL's have used so far.
func cpuTime(postmaster int) (own, database time.Duration, err error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, 0, err
	}
	own = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, 0, err
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended; the postmaster has its times
		}
		_, rest, ok := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 15 {
			return 0, 0, fmt.Errorf("%s has another form", path)
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return 0, 0, err
		}
		if f[1] != strconv.Itoa(postmaster) && pid != postmaster {
			continue
		}
		fields := f[11:13] // user and system time
		if pid == postmaster {
			fields = f[11:15] // and those of children that ended
		}
		for _, t := range fields {
			n, err := strconv.ParseInt(t, 10, 64)
			if err != nil {
				return 0, 0, err
			}
			database += time.Duration(n) * tick
		}
	}
	return own, database, nil
}

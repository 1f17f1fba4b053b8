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

// used is CPU time so far.
type used struct {
	programs time.Duration // this process, and another that belongs to the run
	database time.Duration // PostgreSQL's processes
	machine  time.Duration // everybody
}

func (u used) minus(v used) used {
	return used{u.programs - v.programs, u.database - v.database, u.machine - v.machine}
}

// cpuTime reads what was used; other is a process that belongs to the run, or 0.
func cpuTime(postmaster, other int) (u used, err error) {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return u, err
	}
	u.programs = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	if u.machine, err = machineTime(); err != nil {
		return u, err
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return u, err
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended; the postmaster has its times
		}
		_, rest, ok := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 15 {
			return u, fmt.Errorf("%s has another form", path)
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return u, err
		}
		if pid != other && pid != postmaster && f[1] != strconv.Itoa(postmaster) {
			continue
		}
		fields := f[11:13] // user and system time
		if pid == postmaster {
			fields = f[11:15] // and those of children that ended
		}
		for _, t := range fields {
			n, err := strconv.ParseInt(t, 10, 64)
			if err != nil {
				return u, err
			}
			if pid == other {
				u.programs += time.Duration(n) * tick
			} else {
				u.database += time.Duration(n) * tick
			}
		}
	}
	return u, nil
}

// machineTime is what all processors spent on anything but waiting.
func machineTime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var sum time.Duration
	for i, t := range f[1:9] {
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 { // idle, and waiting for a disk
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

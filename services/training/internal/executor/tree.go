package executor

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// tree knows the processes that a job has become, also those that left its group.
// It reads /proc; where there is none it knows only the first, and the group's
// signals have to do.
type tree struct {
	root  int
	known map[int]string // pid → start time, so that a reused pid is not mistaken
}

func newTree(pid int) *tree {
	t := &tree{root: pid, known: map[int]string{}}
	t.measure()
	return t
}

// process is what /proc says of one.
type process struct {
	parent   int
	started  string
	resident int64
}

// measure learns of new descendants and returns what all use together.
func (t *tree) measure() (residentBytes, processes int64) {
	all := list()
	if p, running := all[t.root]; running && t.known[t.root] == "" {
		t.known[t.root] = p.started
	}
	for pid, started := range t.known {
		if p, running := all[pid]; !running || p.started != started {
			delete(t.known, pid)
		}
	}
	for found := true; found; {
		found = false
		for pid, p := range all {
			if _, known := t.known[pid]; known {
				continue
			}
			if _, known := t.known[p.parent]; known {
				t.known[pid] = p.started
				found = true
			}
		}
	}
	for pid := range t.known {
		residentBytes += all[pid].resident
		processes++
	}
	return residentBytes, processes
}

// kill ends everything that is known and still the same process.
func (t *tree) kill() {
	for range 3 { // what starts while we look is seen in the next round
		t.measure()
		if len(t.known) == 0 {
			return
		}
		for pid := range t.known {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// list reads every process but zombies.
func list() map[int]process {
	all := map[int]process{}
	d, err := os.Open("/proc")
	if err != nil {
		return all
	}
	names, _ := d.Readdirnames(-1)
	_ = d.Close()
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		// The name in parentheses may hold anything; the fields after it are the
		// state, the parent, … the start time (22) and resident pages (24).
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(fields) < 22 || fields[0][0] == 'Z' {
			continue
		}
		parent, err := strconv.Atoi(string(fields[1]))
		if err != nil {
			continue
		}
		pages, err := strconv.ParseInt(string(fields[21]), 10, 64)
		if err != nil {
			continue
		}
		all[pid] = process{parent: parent, started: string(fields[19]), resident: pages * int64(os.Getpagesize())}
	}
	return all
}

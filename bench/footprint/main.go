// Command footprint measures what an empty suite costs on this machine: how long
// a first and a warm start take, and how much memory all of its processes hold
// when idle, each as a share of its goal. It has no peer to run beside: what else does
// all this needs a cluster.
//
// It runs the given freshet binary as a user would, with a data directory of its
// own. Ready means that GET /readyz has answered 200. Memory is read from
// /proc/<pid>/smaps_rollup: RSS counts a page shared by several processes once for
// each of them, PSS counts it once in all.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// goals of the design.
const (
	goalFirst = 3 * time.Second
	goalWarm  = time.Second
	goalMB    = 300
)

const startLimit = time.Minute

// result is what was measured, in milliseconds and megabytes.
type result struct {
	CPUs      int     `json:"cpus"`
	First     []int64 `json:"first_start_ms"`
	Warm      []int64 `json:"warm_start_ms"`
	Stop      []int64 `json:"stop_ms"`
	Processes int     `json:"idle_processes"`
	RSS       int64   `json:"idle_rss_mb"`
	PSS       int64   `json:"idle_pss_mb"`
	Own       int64   `json:"idle_freshet_rss_mb"`
	CPU       float64 `json:"idle_cpu_percent"` // of one CPU
}

func main() {
	binary := flag.String("freshet", "bin/freshet", "the binary to measure")
	rounds := flag.Int("rounds", 3, "first and warm starts, each")
	idle := flag.Duration("idle", 90*time.Second, "how long the suite is left alone before its memory is read")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	r, err := measure(*binary, *rounds, *idle)
	if err == nil && *asJSON {
		err = json.NewEncoder(os.Stdout).Encode(r)
	} else if err == nil {
		err = r.print()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

func measure(binary string, rounds int, idle time.Duration) (r result, err error) {
	r.CPUs = runtime.NumCPU()
	var dir string
	var dirs []string
	defer func() {
		for _, d := range dirs {
			err = errors.Join(err, os.RemoveAll(d))
		}
	}()
	for range rounds {
		if dir, err = os.MkdirTemp("", "freshet-footprint-"); err != nil {
			return r, err
		}
		dirs = append(dirs, dir)
		if err = os.Chmod(dir, 0o711); err != nil { // so that PostgreSQL's user can enter
			return r, err
		}
		if err = once(binary, dir, &r.First, &r.Stop, nil); err != nil {
			return r, err
		}
	}
	for n := range rounds {
		var look func(int) error
		if n == rounds-1 {
			look = func(pid int) error { return r.look(pid, idle) }
		}
		if err = once(binary, dir, &r.Warm, &r.Stop, look); err != nil {
			return r, err
		}
	}
	return r, nil
}

var address = regexp.MustCompile(`ready in \d+ ms, (http://\S+)`)

// once starts a suite, waits until it is ready, lets look see it, and stops it.
func once(binary, dir string, started, stopped *[]int64, look func(pid int) error) (err error) {
	cmd := exec.Command(binary, "up", "--data-dir", dir, "--listen", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	giveUp := time.AfterFunc(startLimit, func() { _ = cmd.Process.Kill() }) // then the output ends
	defer giveUp.Stop()
	lines := bufio.NewScanner(out)
	url := ""
	for url == "" && lines.Scan() {
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			url = m[1]
		}
	}
	if url == "" {
		return errors.Join(fmt.Errorf("%s did not become ready", binary), cmd.Wait())
	}
	if err := ready(url); err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	giveUp.Stop()
	*started = append(*started, time.Since(began).Milliseconds())
	if look != nil {
		err = look(cmd.Process.Pid)
	}
	ending := time.Now()
	if signalErr := cmd.Process.Signal(syscall.SIGINT); signalErr != nil {
		return errors.Join(err, signalErr)
	}
	for lines.Scan() { // until it has ended
		continue
	}
	err = errors.Join(err, cmd.Wait())
	*stopped = append(*stopped, time.Since(ending).Milliseconds())
	return err
}

func ready(url string) error {
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(time.Millisecond) {
		res, err := http.Get(url + "/readyz")
		if err != nil {
			return err
		}
		if err := res.Body.Close(); err != nil {
			return err
		}
		if res.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("%s/readyz stays not ready", url)
}

// look leaves the suite alone and then adds up its processes.
func (r *result) look(pid int, idle time.Duration) error {
	time.Sleep(idle / 2)
	before, err := ticks(pid)
	if err != nil {
		return err
	}
	began := time.Now()
	time.Sleep(idle / 2)
	after, err := ticks(pid)
	if err != nil {
		return err
	}
	const ticksPerSecond = 100 // USER_HZ on every Linux that Go runs on
	r.CPU = 100 * float64(after-before) / ticksPerSecond / time.Since(began).Seconds()
	all, err := tree(pid)
	if err != nil {
		return err
	}
	for _, p := range all {
		rss, pss, err := memory(p)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended in between
		}
		if err != nil {
			return err
		}
		r.Processes++
		r.RSS += rss
		r.PSS += pss
		if p == pid {
			r.Own = rss
		}
	}
	for _, kb := range []*int64{&r.RSS, &r.PSS, &r.Own} {
		*kb >>= 10
	}
	return nil
}

// ticks is the CPU time of a process and its descendants that are alive.
func ticks(pid int) (int64, error) {
	all, err := tree(pid)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, p := range all {
		f, err := stat(p)
		if err != nil {
			continue // it has ended in between
		}
		for _, i := range []int{11, 12} {
			n, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

// stat are the fields of /proc/<pid>/stat after the name, from the state on.
func stat(pid int) ([]string, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	return f, nil
}

// tree is a process and all of its descendants.
func tree(root int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("memory is read from Linux' /proc: %w", err)
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f, err := stat(pid)
		if err != nil {
			continue // it has ended in between
		}
		parent, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, err
		}
		children[parent] = append(children[parent], pid)
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// memory is a process' resident and proportional set size in kB.
func memory(pid int) (rss, pss int64, err error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "Rss:":
			rss, err = strconv.ParseInt(f[1], 10, 64)
		case "Pss:":
			pss, err = strconv.ParseInt(f[1], 10, 64)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return rss, pss, nil
}

func (r result) print() error {
	t := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "an empty suite on %d CPUs\tmedian\tworst\tgoal\tof the goal\n", r.CPUs)
	median := func(ms []int64) int64 { return ms[len(ms)/2] }
	row := func(name string, ms []int64, goal time.Duration) {
		slices.Sort(ms)
		fmt.Fprintf(t, "%s\t%d ms\t%d ms\t≤ %d ms\t%s\n", name, median(ms), ms[len(ms)-1], goal.Milliseconds(), share(median(ms), goal.Milliseconds()))
	}
	row("first start, to ready", r.First, goalFirst)
	row("warm start, to ready", r.Warm, goalWarm)
	fmt.Fprintf(t, "idle memory of %d processes, PSS\t%d MB\t\t≤ %d MB\t%s\n", r.Processes, r.PSS, goalMB, share(r.PSS, goalMB))
	fmt.Fprintf(t, "idle memory, RSS (shared pages counted per process)\t%d MB\t\t\t\n", r.RSS)
	fmt.Fprintf(t, "  of which freshet itself\t%d MB\t\t\t\n", r.Own)
	fmt.Fprintf(t, "idle CPU, of one\t%.1f %%\t\t\t\n", r.CPU)
	slices.Sort(r.Stop)
	fmt.Fprintf(t, "stop\t%d ms\t%d ms\t\t\n", median(r.Stop), r.Stop[len(r.Stop)-1])
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Printf("goals: first start ≤ %d ms %s; warm start ≤ %d ms %s; PSS ≤ %d MB %s\n",
		goalFirst.Milliseconds(), goalMet(median(r.First) <= goalFirst.Milliseconds()),
		goalWarm.Milliseconds(), goalMet(median(r.Warm) <= goalWarm.Milliseconds()), goalMB, goalMet(r.PSS <= goalMB))
	return nil
}

// share is what was measured as a ratio of its goal.
func share(measured, goal int64) string {
	return fmt.Sprintf("%.2f×", float64(measured)/float64(goal))
}

func goalMet(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

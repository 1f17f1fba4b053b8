// Command testsum runs the tests of every module of the repository and sums them
// up: a line per package, the whole output of whatever fails, and at the end the
// slowest tests and "N passed, N failed". A package that does not build counts as one
// failure. With -summary FILE the end is also written to a file. Flags it does not know
// go to go test.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	root, summary, args := ".", "", []string{}
	for i := 1; i < len(os.Args); i++ {
		switch a := os.Args[i]; {
		case a == "-root" && i+1 < len(os.Args):
			i++
			root = os.Args[i]
		case a == "-summary" && i+1 < len(os.Args):
			i++
			summary = os.Args[i]
		default:
			args = append(args, a)
		}
	}
	s := &sum{out: os.Stdout, output: map[string][]string{}, passed: map[string]int{}}
	started := time.Now()
	// The pattern "work" is every package of the workspace's modules.
	s.run(root, nil, append(args, "work"))
	s.run(filepath.Join(root, "libs", "tools"), []string{"GOWORK=off"}, append(args, "./..."))
	end := fmt.Sprintf("%s%d passed, %d failed\n", s.slowest(20), s.pass, s.fail)
	fmt.Printf("\nin %s\n%s", time.Since(started).Round(time.Second), end)
	if summary != "" {
		if err := os.WriteFile(summary, []byte(end), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if s.fail > 0 || s.pass == 0 {
		os.Exit(1)
	}
}

// event is what go test -json writes, one per line.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// sum counts tests and keeps the output of those that may still fail.
type sum struct {
	out        io.Writer
	pass, fail int
	output     map[string][]string // by package and test
	passed     map[string]int      // by package
	failed     map[string]int
	took       []duration // of tests, not of their parts
}

// A duration is how long a test ran itself, without its wait for others to end.
type duration struct {
	test    string
	seconds float64
}

// slowest is a table of the n tests that took longest.
func (s *sum) slowest(n int) string {
	slices.SortStableFunc(s.took, func(a, b duration) int { return cmp.Compare(b.seconds, a.seconds) })
	var b strings.Builder
	for _, d := range s.took[:min(n, len(s.took))] {
		fmt.Fprintf(&b, "%7.1f s  %s\n", d.seconds, d.test)
	}
	return b.String()
}

func (s *sum) run(dir string, env, args []string) {
	cmd := exec.Command("go", append([]string{"test", "-json", "-vet=off", "-timeout=30m"}, args...)...)
	cmd.Dir = dir
	// This module is outside the workspace; the environment it runs in must not
	// keep the others out as well.
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "GOWORK=") }), env...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.broken(err)
		return
	}
	before := s.fail
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			s.line(line)
		}
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil && s.fail == before {
		s.broken(err)
	}
}

// broken counts a run that failed without a test that failed.
func (s *sum) broken(err error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("go test: %w", err)
	}
	s.fail++
	fmt.Fprintln(s.out, "FAIL", err)
}

func (s *sum) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		fmt.Fprint(s.out, string(line))
		return
	}
	key := e.Package + "\x00" + e.Test
	if (e.Action == "pass" || e.Action == "fail") && e.Test != "" && !strings.Contains(e.Test, "/") {
		s.took = append(s.took, duration{short(e.Package) + " " + e.Test, e.Elapsed})
	}
	switch e.Action {
	case "output":
		s.output[key] = append(s.output[key], e.Output)
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "pass":
		if e.Test != "" {
			s.pass++
			s.passed[e.Package]++
			delete(s.output, key)
			return
		}
		fmt.Fprintf(s.out, "ok    %-70s %4d tests %6.1f s\n", short(e.Package), s.passed[e.Package], e.Elapsed)
		delete(s.output, key)
	case "skip":
		if e.Test != "" {
			fmt.Fprintf(s.out, "skip  %s %s\n%s", short(e.Package), e.Test, strings.Join(s.output[key], ""))
		}
		delete(s.output, key)
	case "fail":
		s.failure(e, key)
	}
}

func (s *sum) failure(e event, key string) {
	if s.failed == nil {
		s.failed = map[string]int{}
	}
	if e.Test == "" && s.failed[e.Package] > 0 { // its tests were counted
		fmt.Fprintf(s.out, "FAIL  %s\n", short(e.Package))
		return
	}
	s.fail++
	s.failed[e.Package]++
	fmt.Fprintf(s.out, "FAIL  %s %s\n%s", short(e.Package), e.Test, strings.Join(s.output[key], ""))
	delete(s.output, key)
}

func short(pkg string) string {
	return strings.TrimPrefix(pkg, "github.com/freshet-io/freshet/")
}

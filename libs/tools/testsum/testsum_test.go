package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func feed(lines ...string) (*sum, string) {
	var out bytes.Buffer
	s := &sum{out: &out, output: map[string][]string{}, passed: map[string]int{}}
	for _, l := range lines {
		s.line([]byte(l + "\n"))
	}
	return s, out.String()
}

func TestSum(t *testing.T) {
	t.Parallel()
	s, out := feed(
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"loud\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestB"}`,
		`{"Action":"skip","Package":"p","Test":"TestC"}`,
		`{"Action":"fail","Package":"p","Elapsed":1.5}`,
		`{"Action":"skip","Package":"empty"}`,
	)
	require.Equal(t, 1, s.pass)
	require.Equal(t, 1, s.fail)
	require.NotContains(t, out, "quiet")
	require.Contains(t, out, "loud")
	require.Contains(t, out, "skip  p TestC")
}

// What is slow is known by name: whole tests, failed ones too, the slowest first.
func TestSlowestTests(t *testing.T) {
	t.Parallel()
	s, _ := feed(
		`{"Action":"pass","Package":"github.com/freshet-io/freshet/libs/web","Test":"TestA/part","Elapsed":9}`,
		`{"Action":"pass","Package":"github.com/freshet-io/freshet/libs/web","Test":"TestA","Elapsed":10.2}`,
		`{"Action":"fail","Package":"github.com/freshet-io/freshet/events","Test":"TestB","Elapsed":31}`,
		`{"Action":"pass","Package":"github.com/freshet-io/freshet/events","Test":"TestC","Elapsed":0.1}`,
		`{"Action":"pass","Package":"github.com/freshet-io/freshet/events","Elapsed":40}`,
	)
	require.Equal(t, "   31.0 s  events TestB\n   10.2 s  libs/web TestA\n", s.slowest(2))
}

// A package without a failed test fails as a whole: it did not build, or a test's
// goroutine ended the process.
func TestSumCountsBrokenPackages(t *testing.T) {
	t.Parallel()
	s, out := feed(
		`{"ImportPath":"p","Action":"build-output","Output":"x.go:1: undefined: y\n"}`,
		`{"ImportPath":"p","Action":"build-fail"}`,
		`{"Action":"output","Package":"p","Output":"FAIL p [build failed]\n"}`,
		`{"Action":"fail","Package":"p","FailedBuild":"p"}`,
	)
	require.Equal(t, 0, s.pass)
	require.Equal(t, 1, s.fail)
	require.Contains(t, out, "undefined: y")
}

func TestRunThatCannotStart(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &sum{out: &out, output: map[string][]string{}, passed: map[string]int{}}
	s.run(t.TempDir(), []string{"GOWORK=off", "GOFLAGS=-mod=mod"}, []string{"./..."})
	require.Positive(t, s.fail)
	require.True(t, strings.Contains(out.String(), "FAIL"))
}

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var wanted = regexp.MustCompile(`// want( above)?: (.*)$`)

// Every bad example is refused at its line for its reason, and nothing else is.
func TestBadExamplesAreRefused(t *testing.T) {
	t.Parallel()
	root := filepath.Join("testdata", "repo")
	r, err := check(root, patterns)
	require.NoError(t, err)
	require.Equal(t, 4, r.folds)

	left := map[string][]string{} // file:line → findings
	for _, f := range r.findings {
		parts := strings.SplitN(f, ": ", 2)
		left[parts[0]] = append(left[parts[0]], parts[1])
	}
	examples := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		for n := 1; lines.Scan(); n++ {
			m := wanted.FindStringSubmatch(lines.Text())
			if m == nil {
				continue
			}
			at := n
			if m[1] != "" {
				at--
			}
			key := fmt.Sprintf("%s:%d", filepath.ToSlash(rel), at)
			for want := range strings.SplitSeq(m[2], "; ") {
				examples++
				found := false
				for i, f := range left[key] {
					if strings.Contains(f, want) {
						left[key] = append(left[key][:i:i], left[key][i+1:]...)
						found = true
						break
					}
				}
				require.True(t, found, "%s: %q is accepted; found: %q", key, want, left[key])
			}
			if len(left[key]) == 0 {
				delete(left, key)
			}
		}
		return lines.Err()
	}))
	require.Empty(t, left, "found where nothing is wrong")
	require.Greater(t, examples, 30)
}

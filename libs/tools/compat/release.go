package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const changelog = "CHANGELOG.md"

var entry = regexp.MustCompile(`(?m)^## \[(\d+\.\d+\.\d+[^\]\s]*)\]`)

// A base is a revision to compare with, and what it is to people.
type base struct {
	revision, name string
}

// bases are the revisions that bind the contracts: the newest release and, in the commit
// that makes it one, the release before, since what that commit itself changes counts too.
// A release is an entry of the changelog: its tag where there is one, else the commit that
// added the entry. Before the first release there is none.
func bases(root string) ([]base, error) {
	head, err := revision(root, "HEAD")
	if err != nil {
		return nil, err
	}
	present, err := git(root, "ls-tree", "--full-tree", "--name-only", head, "--", changelog)
	if err != nil || len(present) == 0 {
		return nil, err
	}
	text, err := git(root, "show", head+":"+changelog)
	if err != nil {
		return nil, err
	}
	var all []base
	for _, m := range entry.FindAllSubmatch(text, -1) {
		b, err := release(root, string(m[1]))
		if err != nil {
			return nil, err
		}
		all = append(all, b)
		if b.revision != head {
			break
		}
	}
	return all, nil
}

// release is where a version was released. In a shallow clone the commit that added the
// entry may be missing; the oldest commit that is there stands in for it, and says so.
func release(root, version string) (base, error) {
	name := "release " + version
	if commit, err := revision(root, "refs/tags/v"+version); err == nil {
		return base{commit, name}, nil
	}
	log, err := git(root, "log", "--reverse", "--format=%H", "-S## ["+version+"]", "HEAD", "--", changelog)
	if err != nil {
		return base{}, err
	}
	commit, _, _ := strings.Cut(string(log), "\n")
	if commit == "" {
		return base{}, fmt.Errorf("%s has an entry for %s, and no commit of this branch added it: name a revision with BASE=", changelog, version)
	}
	oldest, err := shallow(root)
	if err != nil {
		return base{}, err
	}
	if slices.Contains(oldest, commit) {
		name = fmt.Sprintf("commit %.12s, the oldest of this shallow clone, which lacks release %s (for the whole comparison: git fetch --unshallow)",
			commit, version)
	}
	return base{commit, name}, nil
}

func revision(root, name string) (string, error) {
	out, err := git(root, "rev-parse", "--verify", "--quiet", name+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("%s is no commit of this repository: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// shallow lists the commits whose parents this clone lacks.
func shallow(root string) ([]string, error) {
	path, err := git(root, "rev-parse", "--path-format=absolute", "--git-path", "shallow")
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Clean(strings.TrimSpace(string(path))))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(list)), err
}

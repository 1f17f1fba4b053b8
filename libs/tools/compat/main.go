// Command compat compares the contracts with those of the newest release, or of any
// Git revision, and fails where a reader built from one would refuse or misread events written under the
// other. The log is kept for ever and services are released one at a time, so
// both directions matter: new readers meet old events, and old readers new ones.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"
)

func main() {
	log.SetFlags(0)
	root := flag.String("root", ".", "the repository")
	revision := flag.String("base", "", "the Git revision to compare with, instead of the newest release")
	flag.Parse()
	with := []base{{*revision, *revision}}
	if *revision == "" {
		var err error
		if with, err = bases(*root); err != nil {
			log.Fatal(err)
		}
	}
	now, err := fromDir(os.DirFS(filepath.Join(*root, "contracts")))
	if err != nil {
		log.Fatal(err)
	}
	if len(with) == 0 {
		fmt.Printf("%s has no release yet: %d contracts bind nobody\n", changelog, len(now.schemas))
	}
	for _, b := range with {
		old, err := fromGit(*root, b.revision)
		if err != nil {
			log.Fatal(err)
		}
		breaks := compare(old, now)
		for _, line := range breaks {
			fmt.Println(line)
		}
		if len(breaks) > 0 {
			log.Fatalf("%d breaking changes since %s. Add an optional field, or a new major version beside the old.", len(breaks), b.name)
		}
		fmt.Printf("%d contracts are compatible with %s\n", len(now.schemas), b.name)
	}
}

// contractSet is one state of the contracts.
type contractSet struct {
	schemas map[string]map[string]any // by path
	kinds   map[string]string         // of each type: owner and kind
}

func newSet() *contractSet {
	return &contractSet{schemas: map[string]map[string]any{}, kinds: map[string]string{}}
}

// isContract reports whether a path below contracts is a schema that binds.
func isContract(path string) bool {
	parts := strings.Split(path, "/")
	return len(parts) == 3 && strings.HasSuffix(path, ".json")
}

func (s *contractSet) add(path string, raw []byte) error {
	if path == "channels.yaml" {
		var doc struct {
			Events map[string]struct {
				Owner string `yaml:"owner"`
				Kind  string `yaml:"kind"`
			} `yaml:"events"`
		}
		if err := yaml.Unmarshal(raw, &doc); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for typ, c := range doc.Events {
			s.kinds[typ] = c.Owner + " " + c.Kind
		}
		return nil
	}
	var schema map[string]any
	if err := json.Unmarshal(raw, &schema); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s.schemas[path] = schema
	return nil
}

func fromDir(dir fs.FS) (*contractSet, error) {
	s := newSet()
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path != "channels.yaml" && !isContract(path) {
			return err
		}
		raw, err := fs.ReadFile(dir, path)
		if err != nil {
			return err
		}
		return s.add(path, raw)
	})
	return s, err
}

func fromGit(root, revision string) (*contractSet, error) {
	list, err := git(root, "ls-tree", "-r", "-z", "--name-only", "--full-tree", revision, "contracts/")
	if err != nil {
		return nil, err
	}
	s := newSet()
	for _, name := range strings.Split(string(list), "\x00") {
		path := strings.TrimPrefix(name, "contracts/")
		if path != "channels.yaml" && !isContract(path) {
			continue
		}
		raw, err := git(root, "show", revision+":"+name)
		if err != nil {
			return nil, err
		}
		if err := s.add(path, raw); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func git(root string, args ...string) ([]byte, error) {
	cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(stderr.String()))
	}
	return out, err
}

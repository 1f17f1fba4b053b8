// Package services reads the one list of the suite's services, services/services.yaml.
// What it returns is complete and consistent: every name can name a directory, a Go
// package and a PostgreSQL schema, none occurs twice, and every service has an owner
// and its colours. Anything else is an error that names the service and the rule.
package services

import (
	"bytes"
	"errors"
	"fmt"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// File is where the list is in the repository.
const File = "services/services.yaml"

// A Service is one entry of the list.
type Service struct {
	Name   string `yaml:"name"`
	Owner  string `yaml:"owner"`
	Colour Colour `yaml:"colour"`
}

// Colour of a service's events in pictures.
type Colour struct {
	Light string `yaml:"light"`
	Dark  string `yaml:"dark"`
}

// Package is the name of the service's Go package: "feature-store" is featurestore.
func (s Service) Package() string { return strings.ReplaceAll(s.Name, "-", "") }

// Read reads the list of a repository, in its order.
func Read(root string) ([]Service, error) {
	raw, err := os.ReadFile(filepath.Join(root, File))
	if err != nil {
		return nil, err
	}
	var doc struct {
		Services []Service `yaml:"services"`
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%s: %w", File, err)
	}
	if len(doc.Services) == 0 {
		return nil, fmt.Errorf("%s: it names no service", File)
	}
	for i, s := range doc.Services {
		if err := errors.Join(CheckName(s.Name, doc.Services[:i]), CheckOwner(s.Owner), s.Colour.check()); err != nil {
			return nil, fmt.Errorf("%s: service %q: %w", File, s.Name, err)
		}
	}
	return doc.Services, nil
}

var (
	name   = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	owner  = regexp.MustCompile(`^@[A-Za-z0-9-]+(/[A-Za-z0-9._-]+)?$|^[^@\s]+@[^@\s]+$`)
	colour = regexp.MustCompile(`^#[0-9a-f]{6}$`)
)

// longest name: the schema of a service's own data is the name and a suffix, and must
// stay well below PostgreSQL's 63 bytes.
const longest = 32

// predeclared packages, directories and users that a service would be mistaken for.
var reserved = []string{"admin", "producer", "suite", "public", "main", "events", "contracts", "libs", "cmd", "chaos", "internal", "vendor",
	"testdata", "types", "arrival", "inference", "job", "spec"}

// CheckName says why a service beside others cannot have a name.
func CheckName(n string, others []Service) error {
	pkg := Service{Name: n}.Package()
	switch {
	case !name.MatchString(n):
		return errors.New("a name has lower-case letters and digits, begins with a letter, and joins words by single dashes, as feature-store does")
	case len(n) > longest:
		return fmt.Errorf("a name has at most %d characters, and this one has %d", longest, len(n))
	case token.IsKeyword(pkg) || slices.Contains(reserved, n):
		return fmt.Errorf("%q means something else here: choose another name", n)
	}
	for _, o := range others {
		if o.Package() == pkg {
			return fmt.Errorf("the service %s is there already: choose a name that is not the same without dashes", o.Name)
		}
	}
	return nil
}

// CheckOwner says why nobody can be asked under an owner's name.
func CheckOwner(o string) error {
	if !owner.MatchString(o) {
		return fmt.Errorf("the owner %q is no @user, @organisation/team or mail address, which CODEOWNERS takes", o)
	}
	return nil
}

func (c Colour) check() error {
	if !colour.MatchString(c.Light) || !colour.MatchString(c.Dark) {
		return fmt.Errorf("its colours are %q and %q: write light and dark as #rrggbb in lower case", c.Light, c.Dark)
	}
	return nil
}

// spare colours for services that are added, apart from those in use.
var spare = []Colour{
	{"#8a6d00", "#d9bd4f"}, {"#4a5ea8", "#9fb0f0"}, {"#006d4e", "#5fcf9f"}, {"#8c4a3c", "#dd9d8c"},
	{"#5b4a8c", "#aa9be0"}, {"#7d3f8f", "#d093e0"}, {"#3d6b35", "#93c98a"}, {"#93325a", "#ec8fb3"},
}

// NextColour is one for a service that is added: one that no other has, as long as there
// are any.
func NextColour(list []Service) Colour {
	for _, c := range spare {
		if !slices.ContainsFunc(list, func(s Service) bool { return s.Colour == c }) {
			return c
		}
	}
	return spare[len(list)%len(spare)]
}

// Add writes a service to the end of a repository's list.
func Add(root string, s Service) error {
	list, err := Read(root)
	if err != nil {
		return err
	}
	if err := errors.Join(CheckName(s.Name, list), CheckOwner(s.Owner), s.Colour.check()); err != nil {
		return err
	}
	path := filepath.Join(root, File)
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("  - {name: %s, owner: %q, colour: {light: %q, dark: %q}}\n", s.Name, s.Owner, s.Colour.Light, s.Colour.Dark)
	return os.WriteFile(path, append(append(bytes.TrimRight(raw, "\n"), '\n'), line...), 0o644)
}

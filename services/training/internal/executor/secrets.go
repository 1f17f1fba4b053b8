package executor

import (
	"os"
	"path/filepath"
	"strings"
)

// credentials are where programs keep what they authenticate with, in a home directory.
var credentials = []string{".ssh", ".aws", ".azure", ".config", ".docker", ".gnupg", ".kube", ".git-credentials", ".netrc", ".pgpass", ".pypirc", ".npmrc"}

// Secrets are what jobs are not to see: the suite's data, its user's credentials,
// and what the operator adds, separated by colons. A service's directory is
// <suite>/services/<name>; where it lies elsewhere, only it is hidden.
func Secrets(dataDir, more string) []string {
	hide := []string{dataDir}
	if services := filepath.Dir(dataDir); filepath.Base(services) == "services" && filepath.Dir(services) != string(filepath.Separator) {
		hide[0] = filepath.Dir(services)
	}
	if home, err := os.UserHomeDir(); err == nil {
		for _, name := range credentials {
			hide = append(hide, filepath.Join(home, name))
		}
	}
	for _, path := range filepath.SplitList(more) {
		if path = strings.TrimSpace(path); filepath.IsAbs(path) && filepath.Clean(path) != string(filepath.Separator) {
			hide = append(hide, filepath.Clean(path))
		}
	}
	return hide
}

// Package running notes for the command line where the suites of this user keep their
// data, so that it finds the token of the one that it talks to.
//
// A note is a file named after the address, in the user's configuration directory. It
// holds the data directory's path and no secret. A suite that was killed leaves its note
// behind; the next one at the address replaces it.
package running

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Note says that the suite at a URL keeps its data in a directory, until forget.
func Note(suiteURL, dataDir string) (forget func(), err error) {
	path, err := noteOf(suiteURL)
	if err != nil {
		return nil, err
	}
	if dataDir, err = filepath.Abs(dataDir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, []byte(dataDir+"\n"), 0o600); err != nil {
		return nil, err
	}
	return func() { _ = os.Remove(path) }, nil // what stays names a suite that is gone
}

// DataDir is where the suite at a URL keeps its data; empty where no note says so.
func DataDir(suiteURL string) (string, error) {
	path, err := noteOf(suiteURL)
	if err != nil {
		return "", nil //nolint:nilerr // without a configuration directory there are no notes
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

func noteOf(suiteURL string) (string, error) {
	u, err := url.Parse(suiteURL)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%q is no suite's address", suiteURL)
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	host := strings.ReplaceAll(u.Hostname(), "localhost", "127.0.0.1")
	return filepath.Join(dir, "freshet", "running", strings.ReplaceAll(host, ":", "-")+"_"+u.Port()), nil
}

//go:build unix

package postgres

import (
	"fmt"
	"os"
	"path/filepath"
)

// Home makes sure of the directory for the server's files in a data directory
// that has none yet, and returns where it is: elsewhere, with a link in the data
// directory, where the server's user could not reach it. What is put there is
// given to that user when the server starts.
func Home(dataDir string) (string, error) {
	acc, err := runAs()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dataDir, 0o711); err != nil {
		return "", err
	}
	home, err := acc.home(dataDir)
	if err != nil {
		return "", fmt.Errorf("PostgreSQL's files: %w", err)
	}
	return home, nil
}

// Left is the process of a server that runs on a data directory, 0 if none does.
func Left(dataDir string) int {
	home, err := filepath.EvalSymlinks(filepath.Join(dataDir, "postgres"))
	if err != nil {
		return 0
	}
	data := filepath.Join(home, "data")
	if p := readPidFile(data); p.pid > 1 && worksIn(p.pid, data) {
		return p.pid
	}
	return 0
}

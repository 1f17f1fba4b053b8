// Package generated writes the files that tools generate. A file is replaced as a whole,
// and only where its text differs, so that what did not change is not built again.
package generated

import (
	"bytes"
	"os"
)

// Write replaces a file only if its text differs, and at once.
func Write(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

package evidence

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// WriteDir writes the files below a new directory.
func WriteDir(dir string, files map[string][]byte) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is left to be written
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if sub := filepath.Dir(name); sub != "." {
			if err := root.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		if err := root.WriteFile(name, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

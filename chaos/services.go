package chaos

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

// ReadServices reads the names of the suite's services from the repository's list of
// them, in its order.
func ReadServices(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list struct {
		Services []struct {
			Name string `yaml:"name"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(list.Services) == 0 {
		return nil, fmt.Errorf("%s names no service", path)
	}
	names := make([]string, len(list.Services))
	for i, s := range list.Services {
		names[i] = s.Name
	}
	return names, nil
}

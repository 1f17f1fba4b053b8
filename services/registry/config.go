package registry

import (
	"errors"
	"fmt"
)

// Config is what an operator sets.
type Config struct {
	// ListLimit is how many items one page of a list route may have.
	ListLimit int `env:"FRESHET_REGISTRY_LIST_LIMIT"`
}

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config { return Config{ListLimit: 1000} }

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.ListLimit < 1 || c.ListLimit > 100_000 {
		errs = append(errs, fmt.Errorf("FRESHET_REGISTRY_LIST_LIMIT is %d; 1 to 100000 is allowed", c.ListLimit))
	}
	return errors.Join(errs...)
}

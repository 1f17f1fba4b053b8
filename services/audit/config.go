package audit

import (
	"errors"
	"fmt"
)

// Config is what an operator sets.
type Config struct {
	// ListLimit is how many events one answer may list.
	ListLimit int `env:"FRESHET_AUDIT_LIST_LIMIT"`
	// Archive says whether the log is copied to Kafka.
	Archive bool `env:"FRESHET_AUDIT_ARCHIVE"`
}

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config { return Config{ListLimit: 1000, Archive: true} }

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.ListLimit < 1 || c.ListLimit > 100_000 {
		errs = append(errs, fmt.Errorf("FRESHET_AUDIT_LIST_LIMIT is %d; 1 to 100000 is allowed", c.ListLimit))
	}
	return errors.Join(errs...)
}

package console

import (
	"errors"
	"fmt"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// ListLimit is how many ripples one answer may list.
	ListLimit int `env:"FRESHET_CONSOLE_LIST_LIMIT"`
	// Wait is how long a POST waits until its fact is applied before it answers 202.
	Wait time.Duration `env:"FRESHET_CONSOLE_WAIT"`
}

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config { return Config{ListLimit: 5000, Wait: 10 * time.Second} }

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.ListLimit < 1 || c.ListLimit > 100_000 {
		errs = append(errs, fmt.Errorf("FRESHET_CONSOLE_LIST_LIMIT is %d; 1 to 100000 is allowed", c.ListLimit))
	}
	if c.Wait <= 0 || c.Wait > time.Minute {
		errs = append(errs, fmt.Errorf("FRESHET_CONSOLE_WAIT is %s; more than 0s, at most 1m is allowed", c.Wait))
	}
	return errors.Join(errs...)
}

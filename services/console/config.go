package console

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// Hosts are the names, beside loopback and plain IP addresses, under which people
	// reach the console. A request for any other name is refused.
	Hosts []string `env:"FRESHET_CONSOLE_HOSTS"`
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
	for _, h := range c.Hosts {
		if h == "" || strings.ContainsAny(h, "/: ") {
			errs = append(errs, fmt.Errorf("FRESHET_CONSOLE_HOSTS has %q; a host's name without scheme and port is allowed", h))
		}
	}
	if c.ListLimit < 1 || c.ListLimit > 100_000 {
		errs = append(errs, fmt.Errorf("FRESHET_CONSOLE_LIST_LIMIT is %d; 1 to 100000 is allowed", c.ListLimit))
	}
	if c.Wait <= 0 || c.Wait > time.Minute {
		errs = append(errs, fmt.Errorf("FRESHET_CONSOLE_WAIT is %s; more than 0s, at most 1m is allowed", c.Wait))
	}
	return errors.Join(errs...)
}

package training

import (
	"errors"
	"fmt"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// Jobs is how many training jobs run at once on this machine.
	Jobs int `env:"FRESHET_TRAINING_JOBS"`
	// Attempts is how often a job may ask to be tried again.
	Attempts int `env:"FRESHET_TRAINING_ATTEMPTS"`
	// Timeout is the longest that any job may run, whatever its model asks for.
	Timeout time.Duration `env:"FRESHET_TRAINING_TIMEOUT"`
	// Grace is how long a job has from SIGTERM to SIGKILL.
	Grace time.Duration `env:"FRESHET_TRAINING_GRACE"`
	// DiskBytes is how much a job may have on disk.
	DiskBytes int64 `env:"FRESHET_TRAINING_DISK_BYTES"`
	// Processes is how many processes a job may be.
	Processes int64 `env:"FRESHET_TRAINING_PROCESSES"`
	// LogBytes is how much of a job's output is kept: its beginning and its end.
	LogBytes int `env:"FRESHET_TRAINING_LOG_BYTES"`
	// CodeBytes is how much an archive of code may unpack to.
	CodeBytes int64 `env:"FRESHET_TRAINING_CODE_BYTES"`
	// Hide are files and directories, separated by colons, that no job is to see,
	// beside the suite's own and its user's credentials.
	Hide string `env:"FRESHET_TRAINING_HIDE"`
	// Isolation says whether a job that cannot be kept from the network and from the
	// suite's files runs all the same ("try"; its log says so) or not ("required").
	Isolation string `env:"FRESHET_TRAINING_ISOLATION"`
	// ListLimit is how many items one page of a list route may have.
	ListLimit int `env:"FRESHET_TRAINING_LIST_LIMIT"`
}

// Values of Config.Isolation.
const (
	isolationTry      = "try"
	isolationRequired = "required"
)

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config {
	return Config{
		Jobs: 1, Attempts: 3, Timeout: 24 * time.Hour, Grace: 10 * time.Second,
		DiskBytes: 8 << 30, Processes: 512, LogBytes: 1 << 20, CodeBytes: 512 << 20, Isolation: isolationTry, ListLimit: 1000,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	within := func(name string, v, least, most int64) {
		if v < least || v > most {
			errs = append(errs, fmt.Errorf("FRESHET_TRAINING_%s is %d; %d to %d is allowed", name, v, least, most))
		}
	}
	within("JOBS", int64(c.Jobs), 1, 256)
	within("ATTEMPTS", int64(c.Attempts), 1, 100)
	within("DISK_BYTES", c.DiskBytes, 1<<20, 1<<44)
	within("PROCESSES", c.Processes, 1, 1<<20)
	within("LOG_BYTES", int64(c.LogBytes), 1<<10, 64<<20)
	within("CODE_BYTES", c.CodeBytes, 1<<20, 1<<36)
	within("LIST_LIMIT", int64(c.ListLimit), 1, 100_000)
	if c.Timeout < time.Second {
		errs = append(errs, fmt.Errorf("FRESHET_TRAINING_TIMEOUT is %s; at least 1s is needed", c.Timeout))
	}
	if c.Grace < 0 || c.Grace > time.Hour {
		errs = append(errs, fmt.Errorf("FRESHET_TRAINING_GRACE is %s; 0s to 1h is allowed", c.Grace))
	}
	if c.Isolation != isolationTry && c.Isolation != isolationRequired {
		errs = append(errs, fmt.Errorf("FRESHET_TRAINING_ISOLATION is %q; %s or %s is allowed", c.Isolation, isolationTry, isolationRequired))
	}
	return errors.Join(errs...)
}

package featurestore

import (
	"errors"
	"fmt"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// Memory bounds one SQL session.
	Memory string `env:"FRESHET_FEATURE_STORE_MEMORY"`
	// Threads of one SQL session; all processors where it is 0.
	Threads int `env:"FRESHET_FEATURE_STORE_THREADS"`
	// IdleAfter is when a SQL session that nobody uses is closed.
	IdleAfter time.Duration `env:"FRESHET_FEATURE_STORE_IDLE_AFTER"`
	// MaterialiseTimeout bounds one attempt to compute a view for a data commit.
	MaterialiseTimeout time.Duration `env:"FRESHET_FEATURE_STORE_MATERIALISE_TIMEOUT"`
	// TrainingSetTimeout bounds one attempt to build a training set.
	TrainingSetTimeout time.Duration `env:"FRESHET_FEATURE_STORE_TRAINING_SET_TIMEOUT"`
	// PushTimeout is how long a push waits until its rows are seen.
	PushTimeout time.Duration `env:"FRESHET_FEATURE_STORE_PUSH_TIMEOUT"`
	// BodyLimit is how many bytes a request may have.
	BodyLimit int64 `env:"FRESHET_FEATURE_STORE_BODY_LIMIT"`
	// ListLimit is how many items one page of a list route may have.
	ListLimit int `env:"FRESHET_FEATURE_STORE_LIST_LIMIT"`
}

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config {
	return Config{
		Memory: "1GiB", IdleAfter: 2 * time.Minute, MaterialiseTimeout: 10 * time.Minute,
		TrainingSetTimeout: 30 * time.Minute, PushTimeout: 10 * time.Second, BodyLimit: 8 << 20, ListLimit: 1000,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	for name, d := range map[string]time.Duration{
		"IDLE_AFTER": c.IdleAfter, "MATERIALISE_TIMEOUT": c.MaterialiseTimeout,
		"TRAINING_SET_TIMEOUT": c.TrainingSetTimeout, "PUSH_TIMEOUT": c.PushTimeout,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("FRESHET_FEATURE_STORE_%s is %s; it must be longer than nothing", name, d))
		}
	}
	if c.Threads < 0 {
		errs = append(errs, fmt.Errorf("FRESHET_FEATURE_STORE_THREADS is %d; it must not be negative", c.Threads))
	}
	if c.BodyLimit < 1024 {
		errs = append(errs, fmt.Errorf("FRESHET_FEATURE_STORE_BODY_LIMIT is %d; at least 1024 bytes are needed", c.BodyLimit))
	}
	if c.ListLimit < 1 || c.ListLimit > 100_000 {
		errs = append(errs, fmt.Errorf("FRESHET_FEATURE_STORE_LIST_LIMIT is %d; 1 to 100000 is allowed", c.ListLimit))
	}
	return errors.Join(errs...)
}

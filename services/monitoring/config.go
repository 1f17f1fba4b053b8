package monitoring

import (
	"errors"
	"fmt"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// Grace is how long, in real time, a closing window waits for records that
	// are still on their way to Kafka.
	Grace time.Duration `env:"FRESHET_MONITORING_GRACE"`
	// Keep is how long inference records are kept, by the suite's clock.
	Keep time.Duration `env:"FRESHET_MONITORING_KEEP"`
	// Back is how long before a label's row a prediction of it may have been made.
	Back time.Duration `env:"FRESHET_MONITORING_BACK"`
	// LabelMemory is the most memory that evaluating labels may take.
	LabelMemory string `env:"FRESHET_MONITORING_LABEL_MEMORY"`
}

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config {
	return Config{Grace: 50 * time.Millisecond, Keep: 30 * 24 * time.Hour, Back: 3 * 24 * time.Hour, LabelMemory: "256MiB"}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.Grace < 0 || c.Grace > time.Minute {
		errs = append(errs, fmt.Errorf("FRESHET_MONITORING_GRACE is %s; 0s to 1m is allowed", c.Grace))
	}
	if c.Back <= 0 {
		errs = append(errs, fmt.Errorf("FRESHET_MONITORING_BACK is %s; it must be positive", c.Back))
	}
	if c.Keep < c.Back {
		errs = append(errs, fmt.Errorf("FRESHET_MONITORING_KEEP is %s; it must be at least FRESHET_MONITORING_BACK, %s, or labels find no predictions",
			c.Keep, c.Back))
	}
	if c.LabelMemory == "" {
		errs = append(errs, errors.New("FRESHET_MONITORING_LABEL_MEMORY is empty; write a size such as 256MiB"))
	}
	return errors.Join(errs...)
}

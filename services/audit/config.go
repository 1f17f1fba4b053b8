package audit

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// ListLimit is how many events one answer may list.
	ListLimit int `env:"FRESHET_AUDIT_LIST_LIMIT"`
	// Archive says whether the log is copied to Kafka.
	Archive bool `env:"FRESHET_AUDIT_ARCHIVE"`
	// KeepEvents, KeepFor and LogBytes say when the log gives up events that the archive
	// has: the newest KeepEvents stay, and those younger than KeepFor; a log of more than
	// LogBytes is halved. All 0: it keeps everything.
	KeepEvents int           `env:"FRESHET_AUDIT_KEEP_EVENTS"`
	KeepFor    time.Duration `env:"FRESHET_AUDIT_KEEP_FOR"`
	LogBytes   int64         `env:"FRESHET_AUDIT_LOG_BYTES"`
	// CheckpointEvents is how many events make a checkpoint due.
	CheckpointEvents int `env:"FRESHET_AUDIT_CHECKPOINT_EVENTS"`
	// CheckpointEvery is how long an event waits for a checkpoint at most, on the suite's clock.
	CheckpointEvery time.Duration `env:"FRESHET_AUDIT_CHECKPOINT_EVERY"`
	// Origin names the log in what is signed: one word, best a URL of yours without its scheme.
	Origin string `env:"FRESHET_AUDIT_ORIGIN"`
	// Key is the file with the signing key; signing.key in the service's data directory if empty. It is made where it is missing.
	Key string `env:"FRESHET_AUDIT_KEY"`
	// AttestWait is how long a log that looks whole is not attested because a service
	// that applied it was not heard of and did not say that it had stopped.
	AttestWait time.Duration `env:"FRESHET_AUDIT_ATTEST_WAIT"`
}

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config {
	return Config{ListLimit: 1000, Archive: true, AttestWait: 10 * time.Second, CheckpointEvents: 1000, CheckpointEvery: time.Hour, Origin: "freshet.local/log"}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if c.ListLimit < 1 || c.ListLimit > 100_000 {
		errs = append(errs, fmt.Errorf("FRESHET_AUDIT_LIST_LIMIT is %d; 1 to 100000 is allowed", c.ListLimit))
	}
	if c.CheckpointEvents < 1 {
		errs = append(errs, fmt.Errorf("FRESHET_AUDIT_CHECKPOINT_EVENTS is %d; 1 or more is allowed", c.CheckpointEvents))
	}
	if c.CheckpointEvery <= 0 {
		errs = append(errs, fmt.Errorf("FRESHET_AUDIT_CHECKPOINT_EVERY is %s; it is a duration such as 1h", c.CheckpointEvery))
	}
	if c.Origin == "" || len(c.Origin) > 200 || strings.ContainsAny(c.Origin, "+ \t\r\n") {
		errs = append(errs, fmt.Errorf("FRESHET_AUDIT_ORIGIN is %q; it is one word without +, such as mlops.example.com/log", c.Origin))
	}
	if c.KeepEvents < 0 || c.KeepFor < 0 || c.LogBytes < 0 {
		errs = append(errs, fmt.Errorf("FRESHET_AUDIT_KEEP_EVENTS is %d, FRESHET_AUDIT_KEEP_FOR %s, FRESHET_AUDIT_LOG_BYTES %d; none can be negative",
			c.KeepEvents, c.KeepFor, c.LogBytes))
	}
	if c.AttestWait < 0 {
		errs = append(errs, fmt.Errorf("FRESHET_AUDIT_ATTEST_WAIT is %s; it cannot be negative", c.AttestWait))
	}
	return errors.Join(errs...)
}

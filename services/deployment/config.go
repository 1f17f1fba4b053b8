package deployment

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Config is what an operator sets.
type Config struct {
	// FeaturesURL is the feature server's, which speaks Feast's HTTP API; the
	// suite's own where empty.
	FeaturesURL string `env:"FRESHET_DEPLOYMENT_FEATURES_URL"`
	// FeaturesTimeout is how long a request waits for features.
	FeaturesTimeout time.Duration `env:"FRESHET_DEPLOYMENT_FEATURES_TIMEOUT"`
	// BodyLimit is the most bytes that an inference request may have.
	BodyLimit int64 `env:"FRESHET_DEPLOYMENT_BODY_LIMIT"`
	// MostRows is the most elements that a tensor of a request may have.
	MostRows int `env:"FRESHET_DEPLOYMENT_MOST_ROWS"`
	// RecordMemory is how many bytes of inference records may wait for Kafka.
	RecordMemory int `env:"FRESHET_DEPLOYMENT_RECORD_MEMORY"`
	// RecordWait is how long a request waits for room among them.
	RecordWait time.Duration `env:"FRESHET_DEPLOYMENT_RECORD_WAIT"`
}

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config {
	return Config{
		FeaturesTimeout: 5 * time.Second,
		BodyLimit:       64 << 20,
		MostRows:        100_000,
		RecordMemory:    64 << 20,
		RecordWait:      2 * time.Second,
	}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.FeaturesURL); c.FeaturesURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		errs = append(errs, fmt.Errorf("FRESHET_DEPLOYMENT_FEATURES_URL is %q; an http or https URL is needed", c.FeaturesURL))
	}
	positive := func(name string, ok bool, v any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s is %v; it must be positive", name, v))
		}
	}
	positive("FRESHET_DEPLOYMENT_FEATURES_TIMEOUT", c.FeaturesTimeout > 0, c.FeaturesTimeout)
	positive("FRESHET_DEPLOYMENT_BODY_LIMIT", c.BodyLimit > 0, c.BodyLimit)
	positive("FRESHET_DEPLOYMENT_MOST_ROWS", c.MostRows > 0, c.MostRows)
	positive("FRESHET_DEPLOYMENT_RECORD_MEMORY", c.RecordMemory > 0, c.RecordMemory)
	positive("FRESHET_DEPLOYMENT_RECORD_WAIT", c.RecordWait > 0, c.RecordWait)
	return errors.Join(errs...)
}

package ingestion

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Config is what an operator sets.
type Config struct {
	Inbox        string        `env:"FRESHET_INGESTION_INBOX" help:"directory that file: URIs of arrivals may name files in; none by default"`
	MaxFile      int64         `env:"FRESHET_INGESTION_MAX_FILE" help:"greatest file taken, in bytes"`
	GitHubSecret string        `env:"FRESHET_INGESTION_GITHUB_SECRET" help:"secret that signs GitHub's hooks; without it hooks are refused"`
	LocalGit     bool          `env:"FRESHET_INGESTION_LOCAL_GIT" help:"whether directories of this machine may be watched as repositories"`
	PollLocal    time.Duration `env:"FRESHET_INGESTION_POLL_LOCAL" help:"time between two looks at a local repository"`
	PollRemote   time.Duration `env:"FRESHET_INGESTION_POLL_REMOTE" help:"time between two looks at a remote repository"`
	Fetches      int           `env:"FRESHET_INGESTION_FETCHES" help:"attempts at fetching a revision before it is rejected"`
	CheckMemory  string        `env:"FRESHET_INGESTION_CHECK_MEMORY" help:"memory of one check of a file, such as 512MiB"`
	Checks       int           `env:"FRESHET_INGESTION_CHECKS" help:"files checked at once"`
}

// DefaultConfig returns what holds where nothing is set.
func DefaultConfig() Config {
	return Config{MaxFile: 2 << 30, LocalGit: true, PollLocal: 500 * time.Millisecond, PollRemote: 30 * time.Second, Fetches: 12, CheckMemory: "512MiB", Checks: 2}
}

// Validate reports every mistake at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Inbox != "" && !filepath.IsAbs(c.Inbox) {
		bad("FRESHET_INGESTION_INBOX is %q; give an absolute directory", c.Inbox)
	}
	if c.MaxFile < 1<<10 {
		bad("FRESHET_INGESTION_MAX_FILE is %d; at least 1024 is needed", c.MaxFile)
	}
	if c.GitHubSecret != "" && len(c.GitHubSecret) < 16 {
		bad("FRESHET_INGESTION_GITHUB_SECRET has %d characters; at least 16 are needed", len(c.GitHubSecret))
	}
	if c.PollLocal < 10*time.Millisecond || c.PollRemote < 10*time.Millisecond {
		bad("FRESHET_INGESTION_POLL_LOCAL and FRESHET_INGESTION_POLL_REMOTE are at least 10ms")
	}
	if c.Fetches < 1 || c.Fetches > 100 {
		bad("FRESHET_INGESTION_FETCHES is %d; 1 to 100 is allowed", c.Fetches)
	}
	if c.Checks < 1 || c.Checks > 64 {
		bad("FRESHET_INGESTION_CHECKS is %d; 1 to 64 is allowed", c.Checks)
	}
	return errors.Join(errs...)
}

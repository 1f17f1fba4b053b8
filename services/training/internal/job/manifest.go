// Package job is the contract between the suite and a training job: the manifest
// that the job is given, the variables that point to it, its exit codes, and where
// it leaves its results. Its JSON is contracts/job/v1/job.json.
package job

import (
	"encoding/json"
	"fmt"
	"os"
)

// Version is the manifest's. A job refuses one that it does not know.
const Version = 1

// Variables of a job's environment.
const (
	ManifestVariable = "FRESHET_JOB"     // path of the manifest
	LaunchVariable   = "FRESHET_LAUNCH"  // path of the launcher's orders
	BuiltinVariable  = "FRESHET_BUILTIN" // name of a trainer of the suite's own
)

// Exit codes. Anything else is a failure.
const (
	ExitDone  = 0
	ExitAgain = 75 // EX_TEMPFAIL: try again
)

// Files that a job leaves in its output directory.
const (
	ModelFile   = "model.onnx"
	MetricsFile = "metrics.json" // optional: an object of numbers, recorded as claimed
)

// A Manifest tells a job what to do.
type Manifest struct {
	Version   int    `json:"version"`
	Run       string `json:"run"`
	Model     string `json:"model"`
	Namespace string `json:"namespace"`
	Trigger   string `json:"trigger"`
	Task      string `json:"task"`
	Builtin   string `json:"builtin,omitempty"`
	Code      *Code  `json:"code,omitempty"`

	Inputs []Input `json:"inputs"`
	// Columns are the features in the order that the model must take them.
	Columns []string       `json:"columns"`
	Label   string         `json:"label"`          // the label's column
	Time    string         `json:"time,omitempty"` // the column of an example's time
	Params  map[string]any `json:"params"`
	Seed    int64          `json:"seed"`

	Output     string     `json:"output"`     // directory for results
	Checkpoint string     `json:"checkpoint"` // directory kept between attempts
	BaseModel  *BaseModel `json:"base_model,omitempty"`
	Resources  Resources  `json:"resources"`
}

// Code is what the job runs.
type Code struct {
	Repository string `json:"repository"`
	Revision   string `json:"revision"`
	Path       string `json:"path"` // of the unpacked archive, the working directory
}

// An Input is one split of the training set. The test split is never given.
type Input struct {
	Name  string `json:"name"`  // the training set
	Split string `json:"split"` // train, validation
	Rows  int64  `json:"rows"`
	Files []File `json:"files"`
}

// A File is Parquet, at a path the job can read.
type File struct {
	URI    string `json:"uri"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Path   string `json:"path"`
}

// A BaseModel is the champion, to start from.
type BaseModel struct {
	Version int64  `json:"version"`
	Path    string `json:"path"`
}

// Resources are the limits that the job runs under.
type Resources struct {
	CPU            float64 `json:"cpu"`
	MemoryBytes    int64   `json:"memory_bytes"`
	TimeoutSeconds float64 `json:"timeout_seconds"`
	GraceSeconds   float64 `json:"grace_seconds"` // from SIGTERM to SIGKILL
}

// Read reads the manifest that the environment names.
func Read() (*Manifest, error) {
	path := os.Getenv(ManifestVariable)
	if path == "" {
		return nil, fmt.Errorf("%s is not set: this is no training job", ManifestVariable)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if m.Version != Version {
		return nil, fmt.Errorf("%s: version %d; this trainer knows version %d", path, m.Version, Version)
	}
	return &m, nil
}

// Split finds an input by its split, nil if it was not given.
func (m *Manifest) Split(name string) *Input {
	for i := range m.Inputs {
		if m.Inputs[i].Split == name {
			return &m.Inputs[i]
		}
	}
	return nil
}

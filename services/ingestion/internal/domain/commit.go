package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// CommitDigest names a commit of data by everything that it is: the commit before
// it, the files that it adds, and the spec that they were checked against. Commits
// so form a chain as Git's do, and a commit's name follows from what is recorded:
// two arrivals checked at the same time need no agreement on a manifest's bytes,
// because each manifest lists only what its own arrival adds.
func CommitDigest(dataset, parent string, added []string, spec string) (string, error) {
	return Digest(struct {
		Dataset string   `json:"dataset"`
		Parent  string   `json:"parent"`
		Added   []string `json:"added"`
		Spec    string   `json:"spec"`
	}{dataset, parent, added, spec})
}

// Digest is the SHA-256 of a value's JSON, whose keys stand in the type's order
// and, in maps, sorted.
func Digest(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return DigestBytes(b), nil
}

// DigestBytes is the SHA-256 of bytes as events write it.
func DigestBytes(b []byte) string {
	sum := sha256.Sum256(b)
	return algorithm + hex.EncodeToString(sum[:])
}

// Reasons to reject an arrival.
const (
	Unreadable      = "unreadable"
	Schema          = "schema"
	TooManyFailures = "too_many_failures"
	UnknownDataset  = "unknown_dataset"
	Duplicate       = "duplicate"
	Empty           = "empty"
)

// Checked is what a check of an arrival found, as far as the verdict needs it.
type Checked struct {
	Error       string // why nothing could be read
	Duplicate   bool   // a file of it is in the dataset already
	Rows        int64
	Accepted    int64
	Quarantined int64
	Whole       bool    // a check failed that cannot be blamed on rows
	Above       float64 // the share of failing rows that rejects the whole
}

// Verdict is the reason to reject an arrival, or nothing.
func Verdict(c Checked) string {
	switch {
	case c.Error == UnknownDataset:
		return UnknownDataset
	case c.Duplicate:
		return Duplicate
	case c.Error != "":
		return c.Error
	case c.Rows == 0:
		return Empty
	case c.Whole, c.Accepted == 0, float64(c.Quarantined) > c.Above*float64(c.Rows):
		return TooManyFailures
	}
	return ""
}

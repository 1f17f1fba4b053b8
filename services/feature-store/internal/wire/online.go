package wire

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// OnlineRequest is the body of /get-online-features. AsOf is ours: the instant to
// evaluate at instead of now.
type OnlineRequest struct {
	Entities         map[string]json.RawMessage `json:"entities"`
	FeatureService   string                     `json:"feature_service"`
	Features         []string                   `json:"features"`
	FullFeatureNames bool                       `json:"full_feature_names"`
	AsOf             *time.Time                 `json:"as_of"`
}

// PushRequest is the body of /push.
type PushRequest struct {
	PushSourceName string                     `json:"push_source_name"`
	DF             map[string]json.RawMessage `json:"df"`
	To             string                     `json:"to"`
}

// A Reference is "view:feature" or, of a certain version, "view@2:feature".
type Reference struct {
	View    string
	Version int64 // 0: the newest
	Feature string
}

var referencePattern = regexp.MustCompile(`^([^:@]+)(?:@([^:@]*))?:([^:]+)$`)

// ParseReference reads a reference; the version may be written 2, v2 or latest.
func ParseReference(s string) (Reference, error) {
	m := referencePattern.FindStringSubmatch(s)
	if m == nil {
		//nolint:staticcheck,revive // Feast's words
		return Reference{}, fmt.Errorf("Invalid feature reference '%s'. Expected format: '<feature_view>:<feature>' or "+
			"'<feature_view>@<version>:<feature>'", s)
	}
	r := Reference{View: m[1], Feature: m[3]}
	switch v := strings.TrimLeft(strings.ToLower(m[2]), "v"); v {
	case "", "latest":
		// the newest
	default:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 1 {
			return Reference{}, fmt.Errorf("feature reference '%s': %s is not a version", s, m[2])
		}
		r.Version = n
	}
	return r, nil
}

// String writes the reference.
func (r Reference) String() string {
	if r.Version > 0 {
		return r.View + "@" + strconv.FormatInt(r.Version, 10) + ":" + r.Feature
	}
	return r.View + ":" + r.Feature
}

// Name is what the feature is called in an answer: as Feast does, the full name
// of a version repeats it.
func (r Reference) Name(full bool) string {
	switch {
	case !full:
		return r.Feature
	case r.Version > 0:
		return r.View + "@v" + strconv.FormatInt(r.Version, 10) + "__" + r.Feature
	}
	return r.View + "__" + r.Feature
}

// Collisions returns the references whose names in the answer are equal.
func Collisions(refs, names []string) []string {
	seen := map[string]int{}
	for _, n := range names {
		seen[n]++
	}
	var out []string
	for i, n := range names {
		if seen[n] > 1 {
			out = append(out, refs[i])
		}
	}
	return out
}

// CollisionMessage is Feast's.
func CollisionMessage(refs []string, full bool) string {
	if full {
		return "Duplicate features named " + strings.Join(refs, ", ") + " found.\nTo resolve this collision, please ensure that the feature views or their " +
			"own features have different names."
	}
	return "Duplicate features named " + strings.Join(refs, ", ") + " found.\nTo resolve this collision, either use the full feature name by setting " +
		"'full_feature_names=True', or ensure that the features in question have different names."
}

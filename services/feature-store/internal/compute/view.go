// Package compute turns feature views into numbers: their SQL is evaluated by
// DuckDB row by row, over committed files, pushed rows or requests alike; what
// aggregates rows is package domain. Training and serving both come through here.
package compute

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/services/feature-store/internal/domain"
)

// A View is a version of a feature view, ready to compute.
type View struct {
	Name     string
	Version  int64
	Digest   string
	Spec     events.ViewSpec
	Plan     *domain.Plan // nil: computed from the request alone
	Mentions [][]string   // identifiers of each feature's expression, in lower case
	Defaults []float64    // of each feature; NaN where it has none
}

// Compile reads a view's specification. The error is for who wrote it.
func Compile(spec events.ViewSpec, version int64, digest string) (*View, error) {
	v := &View{Name: spec.View, Version: version, Digest: digest, Spec: spec}
	if len(spec.Features) == 0 {
		return nil, fmt.Errorf("view %s has no features", spec.View)
	}
	windowed := spec.Dataset != "" || len(spec.Entity) > 0 || spec.Window != nil
	if windowed && (spec.Dataset == "" || len(spec.Entity) == 0 || spec.Window == nil) {
		return nil, fmt.Errorf("view %s needs dataset, entity and window, or none of them to be computed from the request", spec.View)
	}
	if windowed {
		v.Plan = &domain.Plan{Window: time.Duration(*spec.Window).Microseconds()}
		if v.Plan.Window <= 0 {
			return nil, fmt.Errorf("view %s: a window must be longer than nothing", spec.View)
		}
		if spec.Ttl != nil {
			v.Plan.TTL = time.Duration(*spec.Ttl).Microseconds()
		}
	}
	for _, f := range spec.Features {
		if windowed {
			parsed, err := domain.ParseFeature(f.Name, f.SQL)
			if err != nil {
				return nil, fmt.Errorf("view %s: %w", spec.View, err)
			}
			v.Plan.Features = append(v.Plan.Features, parsed)
			v.Mentions = append(v.Mentions, parsed.Mentions)
		} else {
			m, err := domain.Mentions(f.SQL)
			if err != nil {
				return nil, fmt.Errorf("view %s: feature %s: %w", spec.View, f.Name, err)
			}
			v.Mentions = append(v.Mentions, m)
		}
		missing, ok := spec.Missing[f.Name]
		if !ok {
			missing = math.NaN()
		}
		v.Defaults = append(v.Defaults, missing)
	}
	return v, nil
}

// Feature is the position of a feature, or -1.
func (v *View) Feature(name string) int {
	return slices.IndexFunc(v.Spec.Features, func(f events.SQLExpression) bool { return f.Name == name })
}

// Retention is how long rows can matter after they happened.
func (v *View) Retention() time.Duration { return time.Duration(*v.Spec.Window) }

// Missing is the default of a feature as contracts write it.
func (v *View) Missing(feature int) *float64 {
	if x := v.Defaults[feature]; !math.IsNaN(x) {
		return &x
	}
	return nil
}

// Request lists the fields, of those given, that an on-demand view reads.
func (v *View) Request(fields []events.TypedField) []events.TypedField {
	var out []events.TypedField
	for _, f := range fields {
		if v.reads(f.Name) {
			out = append(out, f)
		}
	}
	return out
}

func (v *View) reads(column string) bool {
	return slices.ContainsFunc(v.Mentions, func(m []string) bool { return slices.Contains(m, strings.ToLower(column)) })
}

// Columns that Rows returns, each prefix followed by a name.
const (
	EntityPrefix  = "entity."
	KnownPrefix   = "known."
	FeaturePrefix = "feature."
	KeyColumn     = "key"
	TimeColumn    = "time"
)

// Input is the relation that dataset expressions are evaluated over.
const Input = "freshet input"

// KeySeparator stands between the columns of a key.
const KeySeparator = "\x1f"

func keySQL(columns []string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = "coalesce(CAST(" + duckdb.Ident(c) + " AS VARCHAR), chr(0))"
	}
	return strings.Join(parts, " || chr(31) || ")
}

func timeSQL(column string) string {
	return "epoch_us(CAST(" + duckdb.Ident(column) + " AS TIMESTAMP))"
}

// knownSQL says when a value that mentions these identifiers is known: when the
// last of the columns it mentions is, never where that is null. Empty: at the
// row's time.
func knownSQL(mentions []string, dataset *events.DatasetSpec) (string, error) {
	if slices.Contains(mentions, Input) {
		return "", fmt.Errorf("the name %q cannot be used", Input)
	}
	var parts []string
	for _, k := range dataset.KnownAt {
		if !slices.Contains(mentions, strings.ToLower(k.Column)) {
			continue
		}
		if _, err := domain.Mentions(k.SQL); err != nil {
			return "", fmt.Errorf("known_at of %s: %w", k.Column, err)
		}
		parts = append(parts, fmt.Sprintf("coalesce(epoch_us(CAST((%s) AS TIMESTAMP)), %d)", k.SQL, int64(domain.Never)))
	}
	switch len(parts) {
	case 0:
		return "", nil
	case 1:
		return parts[0], nil
	}
	return "greatest(" + strings.Join(parts, ", ") + ")", nil
}

// Location is the time zone of a dataset's wall times; nil for those that are
// taken as they are.
func Location(dataset *events.DatasetSpec) (*time.Location, error) {
	switch dataset.Zone {
	case "", "local", "UTC":
		return nil, nil
	}
	return time.LoadLocation(dataset.Zone)
}

func toUTC(times []int64, loc *time.Location) {
	if loc == nil {
		return
	}
	for i, t := range times {
		if t == domain.Never {
			continue
		}
		w := time.UnixMicro(t).UTC()
		times[i] = time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), w.Second(), w.Nanosecond(), loc).UnixMicro()
	}
}

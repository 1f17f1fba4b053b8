package statistics

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Kinds of columns.
const (
	Number   = "number"
	Category = "category"
)

// Names that a model's reference profile uses beside its features'.
const (
	LabelColumn      = "label"
	PredictionColumn = "prediction"
)

// DefaultBins is how many bins a reference histogram has where nothing else is said.
const DefaultBins = 20

// A Profile describes rows column by column. It is what a monitor compares live
// rows with; its JSON is the profile object that training sets and model versions
// refer to.
type Profile struct {
	Rows    int64     `json:"rows"`
	Columns []*Column `json:"columns"`
}

// A Column describes the values of one column. Moments and range are those of the
// values that are there; all are 0 where Count is.
type Column struct {
	Name  string  `json:"name"`
	Kind  string  `json:"kind"`
	Count int64   `json:"count"` // values that are there
	Nulls int64   `json:"nulls"`
	Mean  float64 `json:"mean"`
	M2    float64 `json:"m2"` // sum of squared deviations from the mean
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`

	Histogram  *Histogram       `json:"histogram,omitempty"`
	Categories map[string]int64 `json:"categories,omitempty"`
	// Other counts the values of categories beyond the reference's.
	Other int64 `json:"other,omitempty"`
}

// NewNumber returns an empty numeric column with these histogram edges.
func NewNumber(name string, edges []float64) *Column {
	return &Column{Name: name, Kind: Number, Histogram: NewHistogram(edges)}
}

// Numbers describes reference values, with edges at their own quantiles. NaN is a
// null, and so is what valid marks false; a nil valid marks nothing.
func Numbers(name string, values []float64, valid []bool, bins int) *Column {
	there := values
	if valid != nil {
		there = make([]float64, 0, len(values))
		for i, x := range values {
			if valid[i] {
				there = append(there, x)
			}
		}
	}
	c := NewNumber(name, QuantileEdges(there, bins))
	for i, x := range values {
		if valid != nil && !valid[i] {
			c.AddNull()
		} else {
			c.Add(x)
		}
	}
	return c
}

// Bools describes a reference of truth values as the numbers 0 and 1, each with
// its bin also where only one of them occurs: a label, for one.
func Bools(name string, values []bool) *Column {
	c := NewNumber(name, []float64{0, 1, math.Nextafter(1, 2)})
	for _, b := range values {
		c.Add(indicator(b))
	}
	return c
}

// Strings describes reference categories: the most frequent by count, then name,
// up to limit; the rest count as other.
func Strings(name string, values []string, valid []bool, limit int) *Column {
	counts := map[string]int64{}
	for i, s := range values {
		if valid == nil || valid[i] {
			counts[s]++
		}
	}
	names := make([]string, 0, len(counts))
	for s := range counts {
		names = append(names, s)
	}
	slices.SortFunc(names, func(a, b string) int {
		if counts[a] != counts[b] {
			if counts[a] > counts[b] {
				return -1
			}
			return 1
		}
		if a < b {
			return -1
		}
		return 1
	})
	c := &Column{Name: name, Kind: Category, Categories: map[string]int64{}}
	for _, s := range names[:min(limit, len(names))] {
		c.Categories[s] = 0
	}
	for i, s := range values {
		if valid == nil || valid[i] {
			c.AddCategory(s)
		} else {
			c.AddNull()
		}
	}
	return c
}

// Empty returns a column of the same bins that has seen nothing: fill it with
// current values and compare.
func (c *Column) Empty() *Column {
	e := &Column{Name: c.Name, Kind: c.Kind}
	if c.Histogram != nil {
		e.Histogram = c.Histogram.Empty()
	}
	if c.Categories != nil {
		e.Categories = make(map[string]int64, len(c.Categories))
		for s := range c.Categories {
			e.Categories[s] = 0
		}
	}
	return e
}

// Add counts a number; NaN and infinities are nulls.
func (c *Column) Add(x float64) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		c.Nulls++
		return
	}
	c.Count++
	if c.Count == 1 {
		c.Min, c.Max = x, x
	}
	c.Min, c.Max = math.Min(c.Min, x), math.Max(c.Max, x)
	d := x - c.Mean
	c.Mean += d / float64(c.Count)
	c.M2 += d * (x - c.Mean)
	if c.Histogram != nil {
		c.Histogram.Add(x)
	}
}

// AddNull counts a value that is not there.
func (c *Column) AddNull() { c.Nulls++ }

// AddCategory counts a string.
func (c *Column) AddCategory(s string) {
	c.Count++
	if _, known := c.Categories[s]; known {
		c.Categories[s]++
	} else {
		c.Other++
	}
}

// Merge adds what another column with the same bins has seen.
func (c *Column) Merge(o *Column) error {
	if c.Kind != o.Kind || (c.Histogram == nil) != (o.Histogram == nil) || len(c.Categories) != len(o.Categories) {
		return fmt.Errorf("column %s: %w", c.Name, ErrEdges)
	}
	for s := range o.Categories {
		if _, known := c.Categories[s]; !known {
			return fmt.Errorf("column %s: %w", c.Name, ErrEdges)
		}
	}
	if c.Histogram != nil {
		if err := c.Histogram.Merge(o.Histogram); err != nil {
			return fmt.Errorf("column %s: %w", c.Name, err)
		}
	}
	if o.Count > 0 {
		if c.Count == 0 {
			c.Min, c.Max = o.Min, o.Max
		}
		c.Min, c.Max = math.Min(c.Min, o.Min), math.Max(c.Max, o.Max)
		n, m := float64(c.Count), float64(o.Count)
		d := o.Mean - c.Mean
		c.Mean += d * m / (n + m)
		c.M2 += o.M2 + d*d*n*m/(n+m)
	}
	c.Count += o.Count
	c.Nulls += o.Nulls
	c.Other += o.Other
	for s, n := range o.Categories {
		c.Categories[s] += n
	}
	return nil
}

// Std is the standard deviation of the values (divided by their number, as
// numpy's std).
func (c *Column) Std() float64 {
	if c.Count == 0 {
		return 0
	}
	return math.Sqrt(math.Max(c.M2, 0) / float64(c.Count))
}

// PSI compares current values with c as the reference; see the function PSI. Nulls
// are a bin of their own where either column has any, so that a feature which
// stops arriving is seen.
func (c *Column) PSI(current *Column) (float64, error) {
	r, n, err := c.bins(current)
	if err != nil {
		return 0, err
	}
	return PSI(r, n), nil
}

func (c *Column) bins(current *Column) (reference, now []float64, err error) {
	if c.Kind != current.Kind {
		return nil, nil, fmt.Errorf("column %s: %w", c.Name, ErrEdges)
	}
	switch {
	case c.Histogram != nil && current.Histogram != nil:
		if !slices.Equal(c.Histogram.Edges, current.Histogram.Edges) {
			return nil, nil, fmt.Errorf("column %s: %w", c.Name, ErrEdges)
		}
		// A bin empty on both sides is no bin of either sample; filled on both
		// sides by different amounts it would pretend a difference.
		for i, n := range c.Histogram.Counts {
			if m := current.Histogram.Counts[i]; n > 0 || m > 0 {
				reference, now = append(reference, float64(n)), append(now, float64(m))
			}
		}
	case c.Categories != nil && current.Categories != nil:
		names := make([]string, 0, len(c.Categories))
		for s := range c.Categories {
			names = append(names, s)
		}
		slices.Sort(names)
		for _, s := range names {
			reference = append(reference, float64(c.Categories[s]))
			now = append(now, float64(current.Categories[s]))
		}
		if c.Other > 0 || current.Other > 0 {
			reference, now = append(reference, float64(c.Other)), append(now, float64(current.Other))
		}
	default:
		return nil, nil, fmt.Errorf("column %s: %w", c.Name, ErrEdges)
	}
	if c.Nulls > 0 || current.Nulls > 0 {
		reference, now = append(reference, float64(c.Nulls)), append(now, float64(current.Nulls))
	}
	return reference, now, nil
}

// Column finds a column by name, nil if there is none.
func (p *Profile) Column(name string) *Column {
	for _, c := range p.Columns {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Empty returns a profile of the same bins that has seen nothing.
func (p *Profile) Empty() *Profile {
	e := &Profile{Columns: make([]*Column, len(p.Columns))}
	for i, c := range p.Columns {
		e.Columns[i] = c.Empty()
	}
	return e
}

// With returns a copy of the profile with one more column, or another of its name.
func (p *Profile) With(c *Column) *Profile {
	out := &Profile{Rows: p.Rows}
	for _, old := range p.Columns {
		if old.Name != c.Name {
			out.Columns = append(out.Columns, old)
		}
	}
	out.Columns = append(out.Columns, c)
	return out
}

// Encode writes the profile's JSON: the same profile gives the same bytes.
func (p *Profile) Encode() ([]byte, error) { return json.Marshal(p) }

// ParseProfile reads what Encode wrote and checks that it is whole.
func ParseProfile(b []byte) (*Profile, error) {
	var p Profile
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	for i, c := range p.Columns {
		if c == nil {
			return nil, fmt.Errorf("profile: column %d is null", i)
		}
		switch c.Kind {
		case Number:
			h := c.Histogram
			if h == nil || len(h.Counts) != len(h.Edges)+1 || !slices.IsSorted(h.Edges) {
				return nil, fmt.Errorf("profile: column %q has no valid histogram", c.Name)
			}
		case Category:
			if c.Categories == nil {
				c.Categories = map[string]int64{}
			}
		default:
			return nil, fmt.Errorf("profile: column %q has unknown kind %q", c.Name, c.Kind)
		}
	}
	return &p, nil
}

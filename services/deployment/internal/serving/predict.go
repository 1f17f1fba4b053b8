package serving

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/freshet-io/freshet/services/deployment/internal/domain"
	"github.com/freshet-io/freshet/services/deployment/internal/features"
	"github.com/freshet-io/freshet/services/deployment/internal/record"
	"github.com/freshet-io/freshet/services/deployment/internal/wire"
)

// A Failure is why a request has no prediction. Code is as inference records have it.
type Failure struct {
	Code   string
	Detail string
}

func (f *Failure) Error() string { return f.Detail }

func invalid(format string, args ...any) *Failure {
	return &Failure{Code: record.InvalidRequest, Detail: fmt.Sprintf(format, args...)}
}

// A Prediction is a request's outcome, complete or, beside a Failure, as far as it got.
type Prediction struct {
	Rows     int
	Keys     []string
	KeyName  string
	Versions []int64 // of each row; one item where all are the same
	Features []record.Column
	Outputs  []record.Column
	Spared   *Spared
}

// Spared is what a candidate failed to answer and the champion answered in its
// place: a candidate's faults must show in its verdict, not at callers.
type Spared struct {
	Failure *Failure
	Version int64
	Keys    []string
}

// Features is a feature server; *features.Client is one.
type Features interface {
	Get(ctx context.Context, namespace string, entities []features.Entity, wanted []features.Feature, rows int) ([][]float64, error)
}

// Predict answers a request with the environment's versions, or with only the one
// named. The prediction holds what is known also when there is a failure.
func (e *Environment) Predict(ctx context.Context, server Features, r *wire.Request, only *Version) (*Prediction, *Failure) {
	versions := []*Version{e.Champion}
	if only != nil {
		versions[0] = only
	} else if e.Candidate != nil {
		versions = append(versions, e.Candidate)
	}
	p := &Prediction{Versions: []int64{versions[0].Number}}
	in, failure := check(r, versions)
	if failure != nil {
		return p, failure
	}
	p.Rows = in.rows
	p.Keys = in.keys(e.Key, r.ID)
	if in.fields[e.Key] != nil {
		p.KeyName = e.Key
	}
	if f := in.complete(versions[0]); f != nil {
		return p, f
	}
	if len(versions) == 1 || in.complete(versions[1]) != nil {
		// a request that only the champion understands is the champion's
		return p, e.answer(ctx, server, in, p, versions[:1])
	}
	failure = e.answer(ctx, server, in, p, versions)
	if failure == nil || failure.Code == record.Cancelled {
		return p, failure
	}
	spared := &Spared{Failure: failure, Version: versions[1].Number}
	for i, v := range p.Versions {
		if v == versions[1].Number && len(p.Versions) == p.Rows {
			spared.Keys = append(spared.Keys, p.Keys[i])
		}
	}
	if len(spared.Keys) == 0 {
		return p, failure
	}
	again := &Prediction{Rows: p.Rows, Keys: p.Keys, KeyName: p.KeyName, Versions: []int64{versions[0].Number}}
	if f := e.answer(ctx, server, in, again, versions[:1]); f != nil {
		return p, failure // not the candidate's fault alone
	}
	again.Spared = spared
	return again, nil
}

// answer splits the rows, looks up what the versions need in one go, and scores.
func (e *Environment) answer(ctx context.Context, server Features, in *inputs, p *Prediction, versions []*Version) *Failure {
	parts := e.split(p, versions)
	asked := &versions[0].plan
	if len(versions) == 2 {
		asked = &e.joint
	}
	var looked [][]float64
	if in.rows > 0 {
		var err error
		if looked, err = asked.look(ctx, e.Namespace, server, in, answering(parts)); err != nil {
			if errors.Is(ctx.Err(), context.Canceled) {
				return &Failure{Code: record.Cancelled, Detail: "the caller went away"}
			}
			if refusal := (*features.Refusal)(nil); errors.As(err, &refusal) {
				return invalid("the features cannot be computed: %s", refusal.Message)
			}
			return &Failure{Code: record.FeaturesUnavailable, Detail: err.Error()}
		}
	}
	scores := make([]float64, in.rows)
	seen := columnsOf(parts)
	for i := range parts {
		if f := parts[i].score(asked, looked, in, scores, seen); f != nil {
			return f
		}
	}
	p.Features = seen.list
	p.Outputs = []record.Column{{Name: versions[0].Prediction[0].Name, Values: scores}}
	return nil
}

// complete reports what of a version's needs a request lacks.
func (in *inputs) complete(v *Version) *Failure {
	need := v.plan.needed(in, []*Version{v})
	for i := range v.plan.groups {
		g := &v.plan.groups[i]
		for j, slot := range g.slots {
			if !need[slot] {
				continue
			}
			for _, name := range g.needs[j] {
				if field := g.entities[name]; in.fields[field] == nil {
					return invalid("input %q is missing; version %d needs it for %s", field, v.Number, g.features[j].Name())
				}
			}
		}
	}
	return nil
}

func answering(parts []part) []*Version {
	var versions []*Version
	for _, p := range parts {
		if len(p.rows) > 0 {
			versions = append(versions, p.version)
		}
	}
	return versions
}

// A part of a request's rows, for one version.
type part struct {
	version *Version
	rows    []int
}

// split gives every row to a version, by its key.
func (e *Environment) split(p *Prediction, versions []*Version) []part {
	if len(versions) == 1 {
		rows := make([]int, p.Rows)
		for i := range rows {
			rows[i] = i
		}
		return []part{{version: versions[0], rows: rows}}
	}
	parts := []part{{version: versions[0]}, {version: versions[1]}}
	p.Versions = make([]int64, p.Rows)
	for i, key := range p.Keys {
		to := 0
		if domain.Candidate(e.seed, key, e.Weight) {
			to = 1
		}
		parts[to].rows = append(parts[to].rows, i)
		p.Versions[i] = versions[to].Number
	}
	for to := range parts {
		if len(parts[to].rows) == p.Rows {
			p.Versions = []int64{versions[to].Number}
		}
	}
	return parts
}

// columns collects what the models saw, by column name.
type columns struct {
	list  []record.Column
	index map[string]int
}

func columnsOf(parts []part) *columns {
	c := &columns{index: map[string]int{}}
	for _, p := range parts {
		if len(p.rows) == 0 {
			continue
		}
		for _, col := range p.version.Columns {
			if _, ok := c.index[col.Name]; !ok {
				c.index[col.Name] = len(c.list)
				c.list = append(c.list, record.Column{Name: col.Name})
			}
		}
	}
	return c
}

// column returns the values of a column, NaN where no version saw any.
func (c *columns) column(name string, rows int) []float64 {
	col := &c.list[c.index[name]]
	if col.Values == nil {
		col.Values = make([]float64, rows)
		for i := range col.Values {
			col.Values[i] = math.NaN()
		}
	}
	return col.Values
}

// score scores the part's rows and notes what the model saw.
func (p *part) score(asked *plan, looked [][]float64, in *inputs, scores []float64, seen *columns) *Failure {
	if len(p.rows) == 0 {
		return nil
	}
	v, cols := p.version, len(p.version.Columns)
	values := make([]float64, len(p.rows)*cols)
	for c, column := range v.Columns {
		from := in.direct[column.Name]
		if from == nil {
			from = looked[asked.slots[v.names[c]]]
		}
		saw := seen.column(column.Name, in.rows)
		for i, row := range p.rows {
			x := from[row]
			if math.IsNaN(x) {
				if column.Missing == nil {
					return &Failure{Code: record.FeatureMissing, Detail: fmt.Sprintf(
						"row %d has no value for feature %q, and its view states none for what is missing", row, column.Name)}
				}
				x = *column.Missing
			}
			values[i*cols+c] = x
			saw[row] = x
		}
	}
	out, err := v.model.Score(values, len(p.rows))
	if err != nil {
		return &Failure{Code: record.ModelFailed, Detail: fmt.Sprintf("version %d: %v", v.Number, err)}
	}
	for i, row := range p.rows {
		if math.IsNaN(out[i]) || math.IsInf(out[i], 0) {
			return &Failure{Code: record.ModelFailed, Detail: fmt.Sprintf("version %d gives no finite number for row %d", v.Number, row)}
		}
		scores[row] = out[i]
	}
	return nil
}

func names(versions []*Version) string {
	list := make([]string, len(versions))
	for i, v := range versions {
		list[i] = fmt.Sprintf("version %d", v.Number)
	}
	return strings.Join(list, " or ")
}

package decide

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
)

// codeArchived accepts a revision whose definitions are valid and declares its
// models, or rejects it with its problems. A model of another repository that
// uses the newest version of a view which changed here is declared again.
func codeArchived(ctx context.Context, db eventlog.Reader, e event.Event, p events.CodeArchived, _ time.Time) ([]event.Event, error) {
	ns := eventlog.Namespace(e)
	reject := func(reason string, problems []events.Problem) ([]event.Event, error) {
		return eventlog.Decided(events.NewCodeRejected(ns, p.Repository, events.CodeRejected{
			Repository: p.Repository, Branch: p.Branch, Revision: p.Revision, Reason: reason, Problems: problems}))
	}
	repository, ok, err := state.RepositoryOf(ctx, db, ns, p.Repository)
	if err != nil {
		return nil, err
	}
	switch {
	case ok && repository.Head != p.Revision:
		return reject("superseded", nil)
	case p.Error != "":
		return reject(failure(p.Error), p.Problems)
	case len(p.Problems) > 0:
		return reject("invalid", p.Problems)
	case p.Archive == nil:
		return reject("fetch_failed", nil)
	}
	others, err := readOthers(ctx, db, ns, p.Repository)
	if err != nil {
		return nil, err
	}
	if taken := others.taken(p); len(taken) > 0 {
		return reject("invalid", taken)
	}
	slices.SortFunc(p.Models, func(a, b events.ModelSpec) int { return strings.Compare(a.Model, b.Model) })
	committed := events.CodeCommitted{Repository: p.Repository, Branch: p.Branch, Revision: p.Revision, Archive: *p.Archive,
		Views: orEmpty(p.Views), Datasets: orEmpty(p.Datasets), Models: []string{}, Hypothesis: p.Hypothesis}
	for _, m := range p.Models {
		committed.Models = append(committed.Models, m.Model)
	}
	var d eventlog.Decisions
	d.Add(events.NewCodeCommitted(ns, p.Repository, committed))
	views := others.views
	for _, v := range p.Views {
		views[v.View] = v
	}
	code := events.CodeRevision{Repository: p.Repository, Revision: p.Revision, Archive: *p.Archive}
	for _, m := range p.Models {
		before, known := others.own[m.Model]
		d.Add(declare(ns, m, code, p.CodeDigest, views, before.TrainingDigest))
		if known {
			delete(others.own, m.Model)
		}
	}
	for _, m := range others.models {
		if !usesOneOf(m.Spec, p.Views) {
			continue
		}
		changed, err := trainingDigest(m.Spec, m.CodeDigest, views)
		if err != nil {
			return nil, err
		}
		if changed == m.TrainingDigest {
			continue
		}
		d.Add(declare(ns, m.Spec, m.Code, m.CodeDigest, views, m.TrainingDigest))
	}
	for _, name := range slices.Sorted(maps.Keys(others.own)) {
		d.Add(events.NewModelWithdrawn(ns, name, events.ModelWithdrawn{Model: name, Repository: p.Repository, Revision: p.Revision}))
	}
	return d.Result()
}

func failure(error string) string {
	switch error {
	case "too_large", "unsafe_path", "superseded":
		return error
	}
	return "fetch_failed"
}

func declare(ns string, m events.ModelSpec, code events.CodeRevision, codeDigest string, views map[string]events.ViewSpec, before string) (event.Event, error) {
	spec, err := domain.Digest(m)
	if err != nil {
		return event.Event{}, err
	}
	training, err := trainingDigest(m, codeDigest, views)
	if err != nil {
		return event.Event{}, err
	}
	return events.NewModelDeclared(ns, m.Model, events.ModelDeclared{Model: m.Model, Code: code, CodeDigest: codeDigest, Spec: m,
		SpecDigest: spec, TrainingDigest: training, TrainingChanged: training != before})
}

// trainingDigest names everything that a training depends on except data: gates,
// environments, monitoring and descriptions are not among it. A builtin does not
// depend on the repository's files.
func trainingDigest(m events.ModelSpec, codeDigest string, views map[string]events.ViewSpec) (string, error) {
	relevant := struct {
		Task     string
		Examples events.ExamplesSpec
		Features []events.ViewUse
		Views    []events.ViewSpec
		Request  []events.TypedField
		Training events.TrainingSpec
		Code     string
	}{m.Task, m.Examples, m.Features, nil, m.Request, m.Training, ""}
	if len(m.Training.Command) > 0 {
		relevant.Code = codeDigest
	}
	for _, u := range m.Features {
		v := views[u.View]
		if u.Version != 0 { // pinned: what the name says today does not matter
			v = events.ViewSpec{View: u.View}
		}
		v.Owner, v.Description = "", ""
		relevant.Views = append(relevant.Views, v)
	}
	return domain.Digest(relevant)
}

func usesOneOf(m events.ModelSpec, views []events.ViewSpec) bool {
	return slices.ContainsFunc(m.Features, func(u events.ViewUse) bool {
		return slices.ContainsFunc(views, func(v events.ViewSpec) bool { return v.View == u.View })
	})
}

// others is what the namespace has declared, divided by whose it is.
type others struct {
	owner  map[string]string // "dataset flights" → repository, of other repositories
	views  map[string]events.ViewSpec
	own    map[string]state.Model
	models []state.Model // of other repositories
}

func readOthers(ctx context.Context, db eventlog.Reader, ns, repository string) (others, error) {
	o := others{owner: map[string]string{}, views: map[string]events.ViewSpec{}, own: map[string]state.Model{}}
	datasets, err := state.Datasets(ctx, db, ns)
	if err != nil {
		return o, err
	}
	for _, d := range datasets {
		if d.Repository != repository {
			o.owner["dataset "+d.Dataset] = d.Repository
		}
	}
	views, err := state.Views(ctx, db, ns)
	if err != nil {
		return o, err
	}
	for _, v := range views {
		if v.Repository != repository {
			o.owner["view "+v.Spec.View] = v.Repository
			o.views[v.Spec.View] = v.Spec
		}
	}
	models, err := state.Models(ctx, db, ns)
	if err != nil {
		return o, err
	}
	for _, m := range models {
		if m.Code.Repository == repository {
			o.own[m.Spec.Model] = m
		} else {
			o.models = append(o.models, m)
			o.owner["model "+m.Spec.Model] = m.Code.Repository
		}
	}
	return o, nil
}

// taken reports definitions whose names another repository got first, since this
// revision was read.
func (o others) taken(p events.CodeArchived) []events.Problem {
	var out []events.Problem
	report := func(kind, name, file string) {
		if owner := o.owner[kind+" "+name]; owner != "" {
			out = append(out, events.Problem{File: file, Line: 1, Field: kind,
				Message: kind + " " + name + " belongs to the repository " + owner, Fix: "choose another name, or change it there"})
		}
	}
	for _, d := range p.Datasets {
		report("dataset", d.Dataset, "datasets")
	}
	for _, v := range p.Views {
		report("view", v.View, "features")
	}
	for _, m := range p.Models {
		report("model", m.Model, "freshet.yaml")
	}
	return out
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

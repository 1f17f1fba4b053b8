package state

import (
	"context"
	"encoding/json"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
)

// Kinds of effects that events open.
const (
	EffectCheck   = "check"
	EffectArchive = "archive"
)

// CheckArgs are a check's.
type CheckArgs struct {
	Arrival string               `json:"arrival"`
	Dataset string               `json:"dataset"`
	Files   []events.ArrivedFile `json:"files"`
}

// ArchiveArgs are an archival's.
type ArchiveArgs struct {
	Repository string `json:"repository"`
	URL        string `json:"url"`
	Branch     string `json:"branch"`
	Revision   string `json:"revision"`
}

// Register adds every apply to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Apply(f, repositoryConnected)
	eventlog.Apply(f, codePushed)
	eventlog.Apply(f, codeArchived)
	eventlog.Apply(f, codeCommitted)
	eventlog.Apply(f, codeRejected)
	eventlog.Apply(f, modelDeclared)
	eventlog.Apply(f, modelWithdrawn)
	eventlog.Apply(f, dataArrived)
	eventlog.Apply(f, dataChecked)
	eventlog.Apply(f, dataCommitted)
	eventlog.Apply(f, dataRejected)
}

func text(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

func repositoryConnected(_ context.Context, tx *eventlog.Tx, e event.Event, p events.RepositoryConnected) error {
	tx.Exec(`INSERT INTO repositories (namespace, repository, url, branch, head, pushes, status, reason, problems, revision, changed)
		VALUES ($1, $2, $3, $4, '', 0, 'connected', '', '[]', '', $5)
		ON CONFLICT (namespace, repository) DO UPDATE SET
			head = CASE WHEN repositories.url = excluded.url AND repositories.branch = excluded.branch THEN repositories.head ELSE '' END,
			url = excluded.url, branch = excluded.branch, changed = excluded.changed`,
		eventlog.Namespace(e), p.Repository, p.URL, p.Branch, e.Time())
	return nil
}

// codePushed opens the archival of a revision that is not the newest already: a
// hook and the watch may both report one push. A person may ask for it again.
func codePushed(ctx context.Context, tx *eventlog.Tx, e event.Event, p events.CodePushed) error {
	ns := eventlog.Namespace(e)
	var head string
	err := tx.QueryRow(ctx, `SELECT coalesce((SELECT head FROM repositories WHERE namespace = $1 AND repository = $2), '')`, ns, p.Repository).Scan(&head)
	if err != nil {
		return err
	}
	tx.Exec(`UPDATE repositories SET pushes = pushes + 1, head = $3, status = CASE WHEN head = $3 AND NOT $5 THEN status ELSE 'pushed' END, changed = $4
		WHERE namespace = $1 AND repository = $2`, ns, p.Repository, p.Revision, e.Time(), p.Via == "person")
	if head != p.Revision || p.Via == "person" {
		tx.Open(eventlog.Effect{Kind: EffectArchive, Args: ArchiveArgs{Repository: p.Repository, URL: p.URL, Branch: p.Branch, Revision: p.Revision}})
	}
	return nil
}

// codeArchived changes nothing: what an archived revision means is decided.
func codeArchived(context.Context, *eventlog.Tx, event.Event, events.CodeArchived) error { return nil }

func codeCommitted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CodeCommitted) error {
	ns := eventlog.Namespace(e)
	tx.Exec(`UPDATE repositories SET status = 'committed', reason = '', problems = '[]', revision = $3, changed = $4 WHERE namespace = $1 AND repository = $2`,
		ns, p.Repository, p.Revision, e.Time())
	tx.Exec(`DELETE FROM datasets WHERE namespace = $1 AND repository = $2`, ns, p.Repository)
	for _, d := range p.Datasets {
		spec, err := text(d)
		if err != nil {
			return err
		}
		digest := domain.DigestBytes([]byte(spec))
		tx.Exec(`INSERT INTO datasets (namespace, dataset, repository, spec_digest, spec) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (namespace, dataset) DO UPDATE SET repository = excluded.repository, spec_digest = excluded.spec_digest, spec = excluded.spec`,
			ns, d.Dataset, p.Repository, digest, spec)
		tx.Exec(`INSERT INTO dataset_specs (namespace, digest, spec) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, ns, digest, spec)
	}
	tx.Exec(`DELETE FROM views WHERE namespace = $1 AND repository = $2`, ns, p.Repository)
	for _, v := range p.Views {
		spec, err := text(v)
		if err != nil {
			return err
		}
		tx.Exec(`INSERT INTO views (namespace, view, repository, spec) VALUES ($1, $2, $3, $4)
			ON CONFLICT (namespace, view) DO UPDATE SET repository = excluded.repository, spec = excluded.spec`, ns, v.View, p.Repository, spec)
	}
	return nil
}

func codeRejected(_ context.Context, tx *eventlog.Tx, e event.Event, p events.CodeRejected) error {
	problems := p.Problems
	if problems == nil {
		problems = []events.Problem{}
	}
	list, err := text(problems)
	if err != nil {
		return err
	}
	tx.Exec(`UPDATE repositories SET status = 'rejected', reason = $3, problems = $4, changed = $5
		WHERE namespace = $1 AND repository = $2 AND head = $6`,
		eventlog.Namespace(e), p.Repository, p.Reason, list, e.Time(), p.Revision)
	return nil
}

func modelDeclared(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelDeclared) error {
	spec, err := text(p.Spec)
	if err != nil {
		return err
	}
	code, err := text(p.Code)
	if err != nil {
		return err
	}
	tx.Exec(`INSERT INTO models (namespace, model, repository, code, code_digest, spec, training_digest) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (namespace, model) DO UPDATE SET repository = excluded.repository, code = excluded.code, code_digest = excluded.code_digest,
			spec = excluded.spec, training_digest = excluded.training_digest`,
		eventlog.Namespace(e), p.Model, p.Code.Repository, code, p.CodeDigest, spec, p.TrainingDigest)
	return nil
}

func modelWithdrawn(_ context.Context, tx *eventlog.Tx, e event.Event, p events.ModelWithdrawn) error {
	tx.Exec(`DELETE FROM models WHERE namespace = $1 AND model = $2`, eventlog.Namespace(e), p.Model)
	return nil
}

func dataArrived(_ context.Context, tx *eventlog.Tx, e event.Event, p events.DataArrived) error {
	ns := eventlog.Namespace(e)
	files, err := text(p.Files)
	if err != nil {
		return err
	}
	tx.Exec(`INSERT INTO arrivals (namespace, arrival, dataset, via, origin, origin_id, origin_type, files, arrived, status, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'arrived', '')`,
		ns, e.ID(), p.Dataset, p.Via, p.Origin.Source, p.Origin.ID, p.Origin.Type, files, e.Time())
	for _, f := range p.Files {
		tx.Exec(`INSERT INTO arrival_files (namespace, arrival, digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, ns, e.ID(), f.Object.Digest)
	}
	tx.Open(eventlog.Effect{Kind: EffectCheck, Args: CheckArgs{Arrival: e.ID(), Dataset: p.Dataset, Files: p.Files}})
	return nil
}

func dataChecked(_ context.Context, tx *eventlog.Tx, e event.Event, p events.DataChecked) error {
	tx.Exec(`UPDATE arrivals SET status = 'checked' WHERE namespace = $1 AND arrival = $2 AND status = 'arrived'`, eventlog.Namespace(e), p.Arrival)
	return nil
}

func dataCommitted(_ context.Context, tx *eventlog.Tx, e event.Event, p events.DataCommitted) error {
	ns := eventlog.Namespace(e)
	arrival := ""
	if len(p.Contributors) > 0 {
		arrival = p.Contributors[0]
	}
	spec, err := domain.Digest(p.Spec)
	if err != nil {
		return err
	}
	var manifest, profile, added string
	for _, x := range []struct {
		v any
		s *string
	}{{p.Manifest, &manifest}, {p.Profile, &profile}, {p.Added, &added}} {
		if *x.s, err = text(x.v); err != nil {
			return err
		}
	}
	tx.Exec(`INSERT INTO commits (namespace, dataset, number, digest, parent, event, arrival, committed, spec_digest, manifest, profile, added,
			rows, added_rows, quarantined, min_time, max_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
		ns, p.Dataset, p.Number, p.Commit, p.Parent, e.ID(), arrival, e.Time(), spec, manifest, profile, added,
		p.Rows, p.AddedRows, p.Quarantined, p.MinTime, p.MaxTime)
	tx.Exec(`INSERT INTO committed_files (namespace, dataset, digest, number)
		SELECT namespace, $3, digest, $4 FROM arrival_files WHERE namespace = $1 AND arrival = $2 ON CONFLICT DO NOTHING`, ns, arrival, p.Dataset, p.Number)
	tx.Exec(`UPDATE arrivals SET status = 'committed' WHERE namespace = $1 AND arrival = $2`, ns, arrival)
	return nil
}

func dataRejected(_ context.Context, tx *eventlog.Tx, e event.Event, p events.DataRejected) error {
	tx.Exec(`UPDATE arrivals SET status = 'rejected', reason = $3 WHERE namespace = $1 AND arrival = $2`, eventlog.Namespace(e), p.Arrival, p.Reason)
	return nil
}

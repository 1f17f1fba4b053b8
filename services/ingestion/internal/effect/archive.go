package effect

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
	"github.com/freshet-io/freshet/services/ingestion/internal/git"
	"github.com/freshet-io/freshet/services/ingestion/internal/spec"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
)

// errOvertaken: the branch points elsewhere by now.
var errOvertaken = errors.New("the branch has moved on")

// maxPayload keeps what a revision defines within one event.
const maxPayload = 56 << 10

// Archive copies a revision of a repository into an archive that holds its files
// and nothing else, and reads its definitions.
type Archive struct {
	State   eventlog.Reader
	Objects *objects.Store
	Git     *git.Runner
	SQL     spec.SQL
	Temp    string
	Fetches int // attempts; an outage of the host must not reject a revision for good
}

// Handler is the effect.
func (a *Archive) Handler() eventlog.Handler {
	return eventlog.Handler{Kind: state.EffectArchive, Timeout: 5 * time.Minute, Attempts: max(a.Fetches, 1), Concurrency: 2, Run: a.run, Failed: a.failed}
}

func (a *Archive) failed(_ context.Context, run *eventlog.Run, _ error) (event.Event, error) {
	var args state.ArchiveArgs
	if err := run.Decode(&args); err != nil {
		return event.Event{}, err
	}
	return events.NewCodeArchived(run.Namespace, args.Repository, events.CodeArchived{
		Repository: args.Repository, Branch: args.Branch, Revision: args.Revision, Error: "fetch_failed"})
}

func (a *Archive) run(ctx context.Context, run *eventlog.Run) (out event.Event, err error) {
	var args state.ArchiveArgs
	if err := run.Decode(&args); err != nil {
		return event.Event{}, eventlog.Permanent(err)
	}
	dir, err := os.MkdirTemp(a.Temp, "archive-")
	if err != nil {
		return event.Event{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	found := events.CodeArchived{Repository: args.Repository, Branch: args.Branch, Revision: args.Revision}
	err = a.read(ctx, run.Namespace, args, dir, &found)
	switch {
	case errors.Is(err, git.ErrTooLarge):
		found = events.CodeArchived{Repository: args.Repository, Branch: args.Branch, Revision: args.Revision, Error: "too_large"}
	case errors.Is(err, git.ErrUnsafe):
		found = events.CodeArchived{Repository: args.Repository, Branch: args.Branch, Revision: args.Revision, Error: "unsafe_path"}
	case errors.Is(err, errOvertaken) && run.Attempt < 3:
		// A hook may come before the host shows the push to who asks for its
		// branches: a moment later the branch may point there.
		return event.Event{}, err
	case errors.Is(err, errOvertaken):
		found.Error = "superseded"
	case errors.Is(err, domain.ErrAddress), errors.Is(err, git.ErrNoBranch):
		return event.Event{}, eventlog.Permanent(err)
	case err != nil:
		return event.Event{}, err
	}
	if err := fit(&found); err != nil {
		return event.Event{}, err
	}
	return events.NewCodeArchived(run.Namespace, args.Repository, found)
}

func (a *Archive) read(ctx context.Context, namespace string, args state.ArchiveArgs, dir string, out *events.CodeArchived) error {
	// A hook may come late, and a push may be overtaken while it waits here: only
	// what the branch points to now is worth reading.
	head, err := a.Git.Head(ctx, args.URL, args.Branch)
	if err != nil {
		return err
	}
	if head != args.Revision {
		return errOvertaken
	}
	clone, err := a.Git.Fetch(ctx, args.URL, args.Branch, args.Revision, filepath.Join(dir, "clone"))
	if err != nil {
		return err
	}
	entries, err := clone.Tree(ctx)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	var problems []events.Problem
	archive := filepath.Join(dir, "code.tar")
	err = writeTar(archive, func(add func(git.Entry, []byte) error) error {
		return clone.Blobs(ctx, entries, func(e git.Entry, blob []byte) error {
			if spec.Relevant(e.Path) {
				if e.Mode == git.Link {
					problems = append(problems, events.Problem{File: e.Path, Line: 1, Message: "this is a symbolic link, which is not followed",
						Fix: "put the definitions into the file itself"})
				} else {
					files[e.Path] = blob
				}
			}
			return add(e, blob)
		})
	})
	if err != nil {
		return err
	}
	if out.Archive, err = putFile(ctx, a.Objects, archive, "application/x-tar"); err != nil {
		return err
	}
	out.CodeDigest = codeDigest(entries)
	if err := a.describe(ctx, clone, out); err != nil {
		return err
	}
	known, err := a.known(ctx, namespace, args.Repository)
	if err != nil {
		return err
	}
	d := spec.Parse(files, spec.Options{SQL: a.SQL, Known: known})
	out.Models, out.Datasets, out.Views, out.Problems = d.Models, d.Datasets, d.Views, slices.Concat(problems, d.Problems)
	return nil
}

// describe reads the commit itself: its author, as an opaque id, and the
// hypothesis that it tries.
func (a *Archive) describe(ctx context.Context, clone *git.Clone, out *events.CodeArchived) error {
	commit, err := clone.Commit(ctx)
	if err != nil {
		return err
	}
	if author := git.Author(commit); author != "" {
		out.Author = "git:" + domain.Hex(domain.DigestBytes([]byte(author)))[:24]
	}
	if text := git.Trailer(commit, "Hypothesis"); text != "" {
		out.Hypothesis, err = put(ctx, a.Objects, []byte(text), "text/plain; charset=utf-8")
	}
	return err
}

// known is what other repositories of the namespace define.
func (a *Archive) known(ctx context.Context, namespace, repository string) (*spec.Known, error) {
	k := &spec.Known{Datasets: map[string]events.DatasetSpec{}, Views: map[string]events.ViewSpec{}, Owners: map[string]string{}}
	datasets, err := state.Datasets(ctx, a.State, namespace)
	if err != nil {
		return nil, err
	}
	for _, d := range datasets {
		if d.Repository != repository {
			k.Datasets[d.Dataset], k.Owners["dataset "+d.Dataset] = d.Spec, d.Repository
		}
	}
	views, err := state.Views(ctx, a.State, namespace)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if v.Repository != repository {
			k.Views[v.Spec.View], k.Owners["view "+v.Spec.View] = v.Spec, v.Repository
		}
	}
	models, err := state.Models(ctx, a.State, namespace)
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		if m.Code.Repository != repository {
			k.Owners["model "+m.Spec.Model] = m.Code.Repository
		}
	}
	return k, nil
}

// writeTar writes files with nothing but their names, bytes and whether they can
// be run, so that the same tree gives the same archive everywhere.
func writeTar(name string, each func(add func(git.Entry, []byte) error) error) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	err = each(func(e git.Entry, blob []byte) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Path, Mode: 0o644, Size: int64(len(blob)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		switch e.Mode {
		case git.Executable:
			h.Mode = 0o755
		case git.Link:
			h.Typeflag, h.Linkname, h.Size, h.Mode = tar.TypeSymlink, string(blob), 0, 0o777
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeSymlink {
			return nil
		}
		_, err := w.Write(blob)
		return err
	})
	if err != nil {
		return err
	}
	return w.Close()
}

// codeDigest names the training code: every file but definitions and what people
// read. A change of these alone does not train anything again.
func codeDigest(entries []git.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		if spec.Relevant(e.Path) || prose(e.Path) {
			continue
		}
		fmt.Fprintf(&b, "%s %s %s\n", e.Mode, e.ID, e.Path)
	}
	return domain.DigestBytes([]byte(b.String()))
}

func prose(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	switch first {
	case "docs", ".github", ".gitignore", ".gitattributes", ".editorconfig", "CODEOWNERS":
		return true
	}
	base := path.Base(name)
	return path.Ext(base) == ".md" || strings.HasPrefix(base, "LICENSE")
}

// fit keeps the event within its size. A revision that defines more than one
// event can carry is asked to be divided; of many problems the first are told.
func fit(a *events.CodeArchived) error {
	size := func() (int, error) {
		b, err := json.Marshal(a)
		return len(b), err
	}
	n, err := size()
	if err != nil || n <= maxPayload {
		return err
	}
	a.Models, a.Datasets, a.Views = nil, nil, nil
	if len(a.Problems) == 0 {
		a.Problems = []events.Problem{{File: "freshet.yaml", Line: 1, Message: fmt.Sprintf("the definitions take %d bytes; one revision carries %d", n,
			maxPayload), Fix: "divide them between several repositories"}}
		return nil
	}
	for n > maxPayload && len(a.Problems) > 1 {
		a.Problems = a.Problems[:len(a.Problems)/2]
		if n, err = size(); err != nil {
			return err
		}
	}
	return nil
}

package edge

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
)

// Repositories are the routes about code and datasets.
type Repositories struct {
	log    *eventlog.Log
	watch  *Watch
	local  bool
	secret string
	logger *slog.Logger
}

// NewRepositories returns the routes. Local says whether directories of this
// machine may be watched; secret signs GitHub's hooks, and without one no hook is
// accepted.
func NewRepositories(l *eventlog.Log, w *Watch, local bool, secret string, logger *slog.Logger) *Repositories {
	return &Repositories{log: l, watch: w, local: local, secret: secret, logger: logger}
}

// Register adds the routes.
func (h *Repositories) Register(m *web.Mux) {
	m.Handle(web.Route{Pattern: "POST /v1/repositories", Role: web.Operator, Summary: "Watch a Git repository",
		Query: []web.Parameter{web.InNamespace}, Body: repository{}, Answer: connected{}}, h.connect)
	m.Handle(web.Route{Pattern: "GET /v1/repositories", Role: web.Reader, Summary: "List repositories",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Items[state.Repository]{}}, h.list)
	m.Handle(web.Route{Pattern: "POST /hooks/github/{repository}", Role: web.Anyone,
		Summary: "Take a push from GitHub, which signs it with the secret that was agreed", Query: []web.Parameter{web.InNamespace},
		Body: web.Media("application/json"), Answer: hookAnswer{}}, h.github)
	m.Handle(web.Route{Pattern: "GET /v1/datasets", Role: web.Reader, Summary: "List datasets",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Items[state.Dataset]{}}, h.datasets)
	m.Handle(web.Route{Pattern: "GET /v1/datasets/{dataset}/commits", Role: web.Reader, Summary: "List commits of a dataset, the newest first",
		Query: []web.Parameter{web.InNamespace, web.AtMost}, Answer: web.Items[state.Commit]{}}, h.commits)
}

// A repository to watch.
type repository struct {
	Name   string `json:"name"`
	URL    string `json:"url"`
	Branch string `json:"branch,omitempty"` // main where none is named
}

// connected is what became of it.
type connected struct {
	Repository string `json:"repository"`
	URL        string `json:"url"`
	Branch     string `json:"branch"`
	ID         string `json:"id"` // of the event
}

// connect registers a repository to watch: 201, or 200 where it is watched
// already. Asking again also makes the watch look at once, and fetches a revision
// again that could not be fetched, or that the branch did not show.
func (h *Repositories) connect(w http.ResponseWriter, r *http.Request) {
	ns, ok := namespaceParam(w, r)
	if !ok {
		return
	}
	body, err := web.Body(w, r, 16<<10)
	if err != nil {
		web.BodyProblem(w, err)
		return
	}
	var ask repository
	if err := json.Unmarshal(body, &ask); err != nil {
		detail := err.Error()
		if typed := (*json.UnmarshalTypeError)(nil); errors.As(err, &typed) {
			detail = "there is a JSON " + typed.Value + " instead"
		}
		web.Problem(w, http.StatusBadRequest, "Bad repository", "the body is not a JSON object of the texts name, url and branch: "+detail)
		return
	}
	actor, ok := web.Acting(w, r, "")
	if !ok {
		return
	}
	if ask.Branch == "" {
		ask.Branch = "main"
	}
	if !domain.IsName(ask.Name) {
		web.Problem(w, http.StatusBadRequest, "Bad repository", "name has 1 to 63 of a-z, 0-9, _, . and -, first a letter or digit")
		return
	}
	if err := errors.Join(domain.CheckAddress(ask.URL, h.local), domain.CheckBranch(ask.Branch)); err != nil {
		web.Problem(w, http.StatusBadRequest, "Bad repository", err.Error())
		return
	}
	known, exists, err := state.RepositoryOf(r.Context(), h.log.State(), ns, ask.Name)
	if err != nil {
		answer(w, err)
		return
	}
	if exists && known.URL == ask.URL && known.Branch == ask.Branch {
		if err := h.again(r.Context(), known); err != nil {
			answer(w, err)
			return
		}
		h.watch.Look()
		web.JSON(w, http.StatusOK, known)
		return
	}
	if err := h.watch.check(r.Context(), ask.URL, ask.Branch); err != nil {
		web.Problem(w, http.StatusBadRequest, "Bad repository", err.Error())
		return
	}
	draft, err := events.NewRepositoryConnected(ns, ask.Name, events.RepositoryConnected{Repository: ask.Name, URL: ask.URL, Branch: ask.Branch})
	if err != nil {
		web.Problem(w, http.StatusBadRequest, "Bad repository", err.Error())
		return
	}
	fact := eventlog.Fact{Event: draft, Actor: actor}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		fact.Key = []string{"repository", ask.Name, key}
	}
	receipt, err := h.log.RecordAndWait(r.Context(), fact)
	switch {
	case errors.Is(err, eventlog.ErrConflict):
		web.Problem(w, http.StatusConflict, "Conflict", "this Idempotency-Key was used with another repository")
	case err != nil:
		h.logger.Error("a repository could not be connected", "repository", ask.Name, "error", err)
		answer(w, err)
	default:
		h.watch.Look()
		w.Header().Set("Location", "/v1/events/"+receipt[0].ID)
		web.JSON(w, http.StatusCreated, connected{Repository: ask.Name, URL: ask.URL, Branch: ask.Branch, ID: receipt[0].ID})
	}
}

func (h *Repositories) again(ctx context.Context, r state.Repository) error {
	if r.Status != "rejected" || r.Reason != "fetch_failed" && r.Reason != "superseded" {
		return nil
	}
	draft, err := events.NewCodePushed(r.Namespace, r.Repository, events.CodePushed{
		Repository: r.Repository, URL: r.URL, Branch: r.Branch, Revision: r.Head, Via: "person"})
	if err != nil {
		return err
	}
	_, err = h.log.Record(ctx, eventlog.Fact{Event: draft, Key: []string{"again", r.Repository, strconv.FormatInt(r.Pushes+1, 10)}})
	if errors.Is(err, eventlog.ErrConflict) {
		return nil
	}
	return err
}

func (h *Repositories) list(w http.ResponseWriter, r *http.Request) {
	if ns, ok := namespaceParam(w, r); ok {
		items, err := state.Repositories(r.Context(), h.log.State(), ns)
		for i := range items {
			// what became of its last revision is old news while nobody can look
			if trouble := h.watch.trouble(items[i]); trouble != "" {
				items[i].Status, items[i].Reason = "unreachable", trouble
			}
		}
		listed(w, items, err)
	}
}

func (h *Repositories) datasets(w http.ResponseWriter, r *http.Request) {
	if ns, ok := namespaceParam(w, r); ok {
		items, err := state.Datasets(r.Context(), h.log.State(), ns)
		listed(w, items, err)
	}
}

// Commits of a list where the request does not say how many, and at most.
const (
	usualItems = 100
	mostItems  = 1000
)

func (h *Repositories) commits(w http.ResponseWriter, r *http.Request) {
	ns, ok := namespaceParam(w, r)
	if !ok {
		return
	}
	limit, err := web.Limit(r, usualItems, mostItems)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	items, err := state.Commits(r.Context(), h.log.State(), ns, r.PathValue("dataset"), limit)
	if err == nil && len(items) == 0 {
		_, known, lookErr := state.DatasetOf(r.Context(), h.log.State(), ns, r.PathValue("dataset"))
		if lookErr == nil && !known {
			web.Problem(w, http.StatusNotFound, "No such dataset", "no repository of this namespace declares it")
			return
		}
		err = lookErr
	}
	listed(w, items, err)
}

func listed[T any](w http.ResponseWriter, items []T, err error) {
	if err != nil {
		answer(w, err)
		return
	}
	web.List(w, items)
}

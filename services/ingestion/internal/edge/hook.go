package edge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
)

// maxHook is the greatest body of a hook; it is bounded before anything is computed
// over it.
const maxHook = 5 << 20

const zeroRevision = "0000000000000000000000000000000000000000"

// github takes a push hook that GitHub signed: an HMAC-SHA256 over the body as it
// came. The hook only says that a branch moved; from where to fetch it is what was
// registered, never what the body says. A delivery counts once.
func (h *Repositories) github(w http.ResponseWriter, r *http.Request) {
	body, err := web.Body(w, r, maxHook)
	if err != nil {
		web.BodyProblem(w, err)
		return
	}
	if !signed(h.secret, r.Header.Values("X-Hub-Signature-256"), body) {
		web.Problem(w, http.StatusUnauthorized, "Not signed", "X-Hub-Signature-256 is missing or wrong")
		return
	}
	ns, ok := namespaceParam(w, r)
	if !ok {
		return
	}
	name, delivery := r.PathValue("repository"), r.Header.Get("X-GitHub-Delivery")
	repository, known, err := state.RepositoryOf(r.Context(), h.log.State(), ns, name)
	switch {
	case err != nil:
		answer(w, err)
		return
	case !known:
		web.Problem(w, http.StatusNotFound, "No such repository", "connect it with POST /v1/repositories first")
		return
	}
	switch r.Header.Get("X-GitHub-Event") {
	case "push":
	case "ping":
		web.JSON(w, http.StatusOK, hookAnswer{Reason: "ping"})
		return
	default:
		web.JSON(w, http.StatusOK, hookAnswer{Reason: "not a push"})
		return
	}
	if delivery == "" || len(delivery) > 128 {
		web.Problem(w, http.StatusBadRequest, "Bad hook", "X-GitHub-Delivery is missing")
		return
	}
	var push struct {
		Ref    string `json:"ref"`
		Before string `json:"before"`
		After  string `json:"after"`
	}
	if err := json.Unmarshal(body, &push); err != nil {
		web.Problem(w, http.StatusBadRequest, "Bad hook", "the body is not JSON: "+err.Error())
		return
	}
	switch {
	case push.Ref != "refs/heads/"+repository.Branch:
		web.JSON(w, http.StatusOK, hookAnswer{Reason: "another branch"})
		return
	case strings.Trim(push.After, "0") == "":
		web.JSON(w, http.StatusOK, hookAnswer{Reason: "the branch was deleted"})
		return
	case !domain.IsRevision(push.After):
		web.Problem(w, http.StatusBadRequest, "Bad hook", "after is no revision")
		return
	}
	pushed := events.CodePushed{Repository: name, URL: repository.URL, Branch: repository.Branch, Revision: push.After, Via: "github"}
	if domain.IsRevision(push.Before) && push.Before != zeroRevision {
		pushed.Before = push.Before
	}
	draft, err := events.NewCodePushed(ns, name, pushed)
	if err != nil {
		web.Problem(w, http.StatusBadRequest, "Bad hook", err.Error())
		return
	}
	receipt, err := h.log.Record(r.Context(), eventlog.Fact{Event: draft, Key: []string{"github", name, delivery}})
	switch {
	case errors.Is(err, eventlog.ErrConflict):
		web.Problem(w, http.StatusConflict, "Conflict", "this delivery was taken before with another push")
	case err != nil:
		h.logger.Error("a push could not be recorded", "repository", name, "error", err)
		answer(w, err)
	default:
		w.Header().Set("Location", "/v1/events/"+receipt[0].ID)
		web.JSON(w, http.StatusAccepted, hookAnswer{Taken: true, Existing: receipt[0].Existing, ID: receipt[0].ID})
	}
}

// A hookAnswer says whether a delivery was a push to the branch, or why not.
type hookAnswer struct {
	Taken    bool   `json:"taken"`
	Reason   string `json:"reason,omitempty"`
	Existing bool   `json:"existing,omitempty"` // it had been taken before
	ID       string `json:"id,omitempty"`       // of the event
}

// signed compares in constant time; without a secret nothing is signed.
func signed(secret string, headers []string, body []byte) bool {
	if secret == "" || len(headers) != 1 {
		return false
	}
	said, ok := strings.CutPrefix(headers[0], "sha256=")
	if !ok {
		return false
	}
	got, err := hex.DecodeString(said)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}

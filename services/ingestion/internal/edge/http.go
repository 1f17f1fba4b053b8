package edge

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
)

// Register adds the routes for data.
func (i *Intake) Register(m *web.Mux) {
	m.Handle(web.Route{Pattern: "POST /v1/arrivals", Role: web.Producer, Summary: "Announce data that arrived, as a CloudEvent",
		Query: []web.Parameter{web.InNamespace}, Body: web.Media("application/cloudevents+json"), Answer: arrived{}}, i.postArrival)
	m.Handle(web.Route{Pattern: "PUT /v1/files", Role: web.Producer, Summary: "Store a file",
		Body: web.Media("application/octet-stream"), Answer: stored{}}, i.putFile)
}

// arrived is what an arrival became.
type arrived struct {
	ID       string `json:"id"`       // of the fact
	Existing bool   `json:"existing"` // it had been taken before
	Status   string `json:"status"`   // the fact's route
}

// stored is where a file is.
type stored struct {
	Digest string `json:"digest"`
	URI    string `json:"uri"`
	Size   int64  `json:"size"` // bytes
}

// postArrival takes a CloudEvent, binary or structured: 202 with the fact's id, 200
// where it had been taken before, 409 where another event bears its identity.
func (i *Intake) postArrival(w http.ResponseWriter, r *http.Request) {
	e, err := events.DecodeHTTP(r, 0)
	if err != nil {
		err = refusedEvent(err)
		i.refused.WithLabelValues("http", reasonOf(err)).Inc()
		answer(w, err)
		return
	}
	receipt, err := i.arrive(r.Context(), "http", r.URL.Query().Get("namespace"), e)
	var no *refusal
	switch {
	case errors.As(err, &no) && no.reason == reasonConflict:
		sum := sha256.Sum256(e.Data())
		position := e.Source() + " " + e.ID() + " " + hex.EncodeToString(sum[:8])
		if err := i.quarantine(r.Context(), "http", "http", position, r.URL.Query().Get("namespace"), &e, e.Data(), no); err != nil {
			i.logger.Error("a conflicting event could not be quarantined", "error", err)
		}
		answer(w, no)
	case errors.As(err, &no):
		i.refused.WithLabelValues("http", no.reason).Inc()
		answer(w, no)
	case err != nil:
		i.logger.Error("an arrival could not be recorded", "error", err)
		answer(w, err)
	default:
		status := http.StatusAccepted
		if receipt.Existing {
			status = http.StatusOK
		}
		w.Header().Set("Location", "/v1/events/"+receipt.ID)
		web.JSON(w, status, arrived{ID: receipt.ID, Existing: receipt.Existing, Status: "/v1/events/" + receipt.ID})
	}
}

func reasonOf(err error) string {
	var no *refusal
	if errors.As(err, &no) {
		return no.reason
	}
	return "error"
}

// putFile stores the body as it comes and answers with its digest.
func (i *Intake) putFile(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > i.files.Limit {
		web.Problem(w, http.StatusRequestEntityTooLarge, "File too large", "the file is larger than this service takes")
		return
	}
	ref, err := i.files.Objects.Put(r.Context(), &limited{r: r.Body, left: i.files.Limit})
	switch {
	case errors.Is(err, errLimit):
		web.Problem(w, http.StatusRequestEntityTooLarge, "File too large", "the file is larger than this service takes")
	case err != nil && r.Context().Err() != nil:
		web.Problem(w, http.StatusBadRequest, "Upload ended early", "the body was cut off")
	case err != nil:
		i.logger.Error("a file could not be stored", "error", err)
		answer(w, err)
	case ref.Size == 0:
		web.Problem(w, http.StatusBadRequest, "Empty file", "the body has no bytes")
	default:
		o := events.ObjectOf(ref.Digest, ref.Size, "")
		web.JSON(w, http.StatusCreated, stored{Digest: o.Digest, URI: o.URI, Size: o.Size})
	}
}

// namespaceParam is the namespace that a request asks about.
func namespaceParam(w http.ResponseWriter, r *http.Request) (string, bool) {
	ns := web.Namespace(r)
	if !domain.IsName(ns) {
		web.Problem(w, http.StatusBadRequest, "Bad namespace", "a namespace has 1 to 63 of a-z, 0-9, _, . and -")
		return "", false
	}
	return ns, true
}

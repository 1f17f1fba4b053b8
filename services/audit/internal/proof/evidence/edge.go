package evidence

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/freshet-io/freshet/libs/transparency"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/audit/internal/proof/merkle"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

const (
	listDefault       = 100
	listLimit         = 10_000
	checkpointTimeout = 15 * time.Second // for a checkpoint
)

// Register adds the routes.
func (l *Library) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /v1/checkpoints", Role: web.Reader, Summary: "List signed checkpoints of the archive, the newest first",
		Query: []web.Parameter{web.AtMost}, Answer: web.Items[state.Checkpoint]{}}, l.list)
	mux.Handle(web.Route{Pattern: "POST /v1/checkpoints", Role: web.Operator, Summary: "Sign a checkpoint over all that the archive has now",
		Answer: state.Checkpoint{}}, l.sign)
	mux.Handle(web.Route{Pattern: "GET /v1/checkpoints/newest", Role: web.Reader, Summary: "Read the newest checkpoint",
		Answer: web.Media("text/plain")}, l.newest)
	mux.Handle(web.Route{Pattern: "GET /v1/checkpoints/key", Role: web.Reader, Summary: "Read the public key that checkpoints are verified with",
		Answer: web.Media("text/plain")}, l.key)
	mux.Handle(web.Route{Pattern: "GET /v1/checkpoints/growth", Role: web.Reader, Summary: "Prove that one checkpoint continues another",
		Query: []web.Parameter{{Name: "from", Summary: "the size of the older checkpoint", Value: 0},
			{Name: "to", Summary: "the size of the newer one", Value: 0}}, Answer: growth{}}, l.growth)
	mux.Handle(web.Route{Pattern: "GET /v1/events/{id}/proof", Role: web.Reader, Summary: "Prove that an event is in the archive, unchanged",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Media("text/plain")}, l.prove)
	mux.Handle(web.Route{Pattern: "GET /v1/evidence/{model}", Role: web.Reader, Summary: "Export all evidence about a model",
		Query:  []web.Parameter{web.InNamespace, {Name: "version", Summary: "only of this version", Value: 0}},
		Answer: web.Media("application/x-tar")}, l.export)
}

func (l *Library) list(w http.ResponseWriter, r *http.Request) {
	limit, err := web.Limit(r, listDefault, listLimit)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	list, err := state.Checkpoints(r.Context(), l.index, limit)
	if err != nil {
		l.problem(w, err)
		return
	}
	web.List(w, list)
}

// sign answers with a checkpoint over all that the archive has now.
func (l *Library) sign(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkpointTimeout)
	defer cancel()
	c, err := l.merkle.Checkpoint(ctx)
	switch {
	case err != nil:
		l.problem(w, err)
	case c.Size == 0:
		web.NotFound(w, "the archive is empty: there is nothing to sign")
	default:
		web.JSON(w, http.StatusOK, c)
	}
}

func (l *Library) newest(w http.ResponseWriter, _ *http.Request) {
	c := l.merkle.Newest()
	if c.Size == 0 {
		web.NotFound(w, "no checkpoint is signed yet: POST /v1/checkpoints signs one")
		return
	}
	text(w, []byte(c.Note))
}

func (l *Library) key(w http.ResponseWriter, _ *http.Request) {
	text(w, []byte(l.merkle.Public()+"\n"))
}

// growth is a proof that a checkpoint continues an older one.
type growth struct {
	From   int64    `json:"from"` // sizes of the two
	To     int64    `json:"to"`
	Hashes []string `json:"hashes"` // in base64
}

// growth proves that a newer checkpoint continues an older one.
func (l *Library) growth(w http.ResponseWriter, r *http.Request) {
	var sizes [2]int64
	for i, name := range []string{"from", "to"} {
		n, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
		if err != nil || n < 1 {
			web.BadQuery(w, fmt.Errorf("%s is %q; it is the size of a checkpoint", name, r.URL.Query().Get(name)))
			return
		}
		sizes[i] = n
	}
	hashes, err := l.merkle.ProveGrowth(sizes[0], sizes[1])
	if errors.Is(err, transparency.ErrDamaged) || errors.Is(err, merkle.ErrAltered) {
		l.problem(w, err)
		return
	}
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	list := make([]string, len(hashes))
	for i, h := range hashes {
		list[i] = base64.StdEncoding.EncodeToString(h[:])
	}
	web.JSON(w, http.StatusOK, growth{From: sizes[0], To: sizes[1], Hashes: list})
}

func (l *Library) prove(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkpointTimeout)
	defer cancel()
	p, err := l.Proof(ctx, web.Namespace(r), r.PathValue("id"))
	if errors.Is(err, state.ErrUnknown) {
		web.NotFound(w, "no event %q in namespace %q; write its whole id, or its position in the log", r.PathValue("id"), web.Namespace(r))
		return
	}
	if err != nil {
		l.problem(w, err)
		return
	}
	text(w, p.Format())
}

// export answers with a pack of a model's evidence, as a tar.
func (l *Library) export(w http.ResponseWriter, r *http.Request) {
	model, version := r.PathValue("model"), int64(0)
	if s := r.URL.Query().Get("version"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			web.BadQuery(w, fmt.Errorf("version is %q; it is a number from 1", s))
			return
		}
		version = n
	}
	ctx, cancel := context.WithTimeout(r.Context(), 4*checkpointTimeout)
	defer cancel()
	files, err := l.Pack(ctx, web.Namespace(r), model, version)
	switch {
	case errors.Is(err, state.ErrUnknown) && version > 0:
		web.NotFound(w, "no version %d of a model %q in namespace %q", version, model, web.Namespace(r))
		return
	case errors.Is(err, state.ErrUnknown):
		web.NotFound(w, "no event about a model %q in namespace %q", model, web.Namespace(r))
		return
	case errors.Is(err, state.ErrTooMany):
		web.Problem(w, http.StatusRequestEntityTooLarge, "Too much",
			fmt.Sprintf("the evidence is over %d events; name one version, or dump the whole archive", packLimit))
		return
	case err != nil:
		l.problem(w, err)
		return
	}
	b, err := transparency.WriteTar(files)
	if err != nil {
		l.problem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b) // the client is gone if this fails
}

func text(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b) // the client is gone if this fails
}

func (l *Library) problem(w http.ResponseWriter, err error) {
	switch {
	case l.merkle.Altered():
		web.Problem(w, http.StatusConflict, "The archive was altered", merkle.ErrAltered.Error()+"; nothing more is signed or proven until it is: "+
			"restore the topic, and see the audit service's log")
	case errors.Is(err, merkle.ErrAltered):
		web.Problem(w, http.StatusConflict, "The event was altered", err.Error()+"; it is not proven: restore the topic, or the log's server, "+
			"whichever has other bytes than were signed")
	case errors.Is(err, merkle.ErrUncovered):
		web.Problem(w, http.StatusServiceUnavailable, "Not yet", err.Error()+": a checkpoint is covered by the next one, which comes when something else "+
			"happened; or another process signs, and it is worth another try")
	case errors.Is(err, context.DeadlineExceeded):
		web.Problem(w, http.StatusServiceUnavailable, "Not yet", "no checkpoint over it could be signed in time: the archive may be behind the log, "+
			"or Kafka away; try again")
	default:
		web.Unreadable(w, "The evidence", err)
	}
}

// Package edge answers audit's HTTP routes: the index, exact bytes of events, the
// stream of what is recorded, and questions about the past.
package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/audit/internal/log/logread"
	"github.com/freshet-io/freshet/services/audit/internal/past/lineage"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

const (
	defaultLimit = 100
	tailPage     = 500
	pingEvery    = 15 * time.Second
)

// Log is what the edge needs of the service's own log.
type Log interface {
	State() eventlog.Reader
	Changed() <-chan struct{}
	Status(ctx context.Context) eventlog.Status
}

// Edge answers.
type Edge struct {
	log       Log
	raw       *logread.Reader
	explainer *lineage.Explainer
	clock     clock.Clock
	limit     int
}

// New returns an edge whose lists hold at most limit events.
func New(log Log, raw *logread.Reader, x *lineage.Explainer, c clock.Clock, limit int) *Edge {
	return &Edge{log: log, raw: raw, explainer: x, clock: c, limit: limit}
}

// Register adds the routes.
func (e *Edge) Register(mux *web.Mux) {
	mux.Handle(web.Route{Pattern: "GET /v1/events", Role: web.Reader, Summary: "List events of the log",
		Query:  append(filters(), web.AtMost, web.Parameter{Name: "order", Summary: "log (the default) or newest"}),
		Answer: web.Items[state.Entry]{}}, e.list)
	mux.Handle(web.Route{Pattern: "GET /v1/events/{id}", Role: web.Reader, Summary: "Show an event as it is in the log",
		Query: []web.Parameter{web.InNamespace}, Answer: web.Media("application/cloudevents+json")}, e.show)
	mux.Handle(web.Route{Pattern: "GET /v1/events/tail", Role: web.Reader, Summary: "Follow the log's index as it grows",
		Query: filters(), Answer: web.Media("text/event-stream")}, e.tail)
	mux.Handle(web.Route{Pattern: "GET /v1/events/replay", Role: web.Reader, Summary: "Read the log's events as they are, one line each, in order",
		Query:  []web.Parameter{{Name: "from", Summary: "the first position", Value: 0}, {Name: "to", Summary: "the last position", Value: 0}},
		Answer: web.Media("application/x-ndjson")}, e.replay)
	e.registerPast(mux)
}

// filters are what events are picked by.
func filters() []web.Parameter {
	return []web.Parameter{
		web.InNamespace, {Name: "type", Summary: "only these types, separated by commas; the last part is enough"},
		{Name: "subject", Summary: "only of this subject"}, {Name: "ripple", Summary: "only of this ripple"},
		{Name: "after", Summary: "only after this position of the log", Value: 0},
	}
}

func (e *Edge) list(w http.ResponseWriter, r *http.Request) {
	f, err := e.filter(r)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	entries, err := state.List(r.Context(), e.log.State(), f)
	if err != nil {
		unreadable(w, err)
		return
	}
	web.List(w, entries)
}

func (e *Edge) filter(r *http.Request) (state.Filter, error) {
	q := r.URL.Query()
	limit, err := web.Limit(r, min(defaultLimit, e.limit), e.limit)
	f := state.Filter{Namespace: web.Namespace(r), Subject: q.Get("subject"), Ripple: q.Get("ripple"), Limit: limit}
	errs := []error{err}
	if t := q.Get("type"); t != "" {
		if f.Types = types(t); len(f.Types) == 0 {
			errs = append(errs, fmt.Errorf("type %q is none of the contracts' types", t))
		}
	}
	if s := q.Get("after"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("after is %q; it is a sequence of the log", s))
		}
		f.After = n
	}
	switch o := q.Get("order"); o {
	case "", "log":
	case "newest":
		f.Newest = true
	default:
		errs = append(errs, fmt.Errorf("order is %q; log or newest is allowed", o))
	}
	return f, errors.Join(errs...)
}

// types are the full types that a comma-separated list of full or short ones means.
func types(list string) []string {
	var full []string
	for _, t := range strings.Split(list, ",") {
		for typ := range events.Channels {
			if typ == t || strings.HasSuffix(typ, "."+t) {
				full = append(full, typ)
			}
		}
	}
	slices.Sort(full)
	return full
}

// show answers with the event's bytes as they are in the log.
func (e *Edge) show(w http.ResponseWriter, r *http.Request) {
	entry, err := state.Get(r.Context(), e.log.State(), web.Namespace(r), r.PathValue("id"))
	if errors.Is(err, state.ErrUnknown) {
		detail := fmt.Sprintf("no event %q in namespace %q", r.PathValue("id"), web.Namespace(r))
		if position, is := positionOf(r.PathValue("id")); is && position > e.end(r) {
			detail += "; " + nothingAt(r, position, e.end(r))
		}
		web.NotFound(w, "%s", detail)
		return
	}
	if err != nil {
		unreadable(w, err)
		return
	}
	m, err := e.raw.Find(r.Context(), uint64(entry.Sequence), entry.ID)
	if err != nil {
		unreadable(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/cloudevents+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Freshet-Log-Sequence", strconv.FormatUint(m.Sequence, 10))
	_, _ = w.Write(m.Data) // the client is gone if this fails
}

// tail sends the index entry of every event as it is applied, from ?after= or the
// client's Last-Event-ID on, else from now on.
func (e *Edge) tail(w http.ResponseWriter, r *http.Request) {
	f, err := e.filter(r)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	f.Newest, f.Limit = false, tailPage
	ctx := r.Context()
	if s := r.Header.Get("Last-Event-ID"); s != "" {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			f.After = n
		}
	} else if r.URL.Query().Get("after") == "" {
		last, err := state.List(ctx, e.log.State(), state.Filter{Namespace: f.Namespace, Newest: true, Limit: 1})
		if err != nil {
			unreadable(w, err)
			return
		}
		if len(last) > 0 {
			f.After = last[0].Sequence
		}
	}
	stream, err := web.SSE(w)
	if err != nil {
		return // the client is gone
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		changed := e.log.Changed()
		for {
			entries, err := state.List(ctx, e.log.State(), f)
			if err != nil {
				return // the client comes back with Last-Event-ID
			}
			full := len(entries) == f.Limit
			if full {
				if entries = whole(entries); len(entries) == 0 {
					f.Limit *= 2
					continue
				}
			}
			for _, entry := range entries {
				if stream.SendJSON("event", strconv.FormatInt(entry.Sequence, 10), entry) != nil {
					return
				}
				f.After = entry.Sequence
			}
			if !full {
				break
			}
			f.Limit = tailPage
		}
		select {
		case <-changed:
		case <-ping.C:
			if stream.Ping() != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// whole is a full page without its last message: that may hold several events, all
// of one sequence, and the page may have cut them apart. The next page has them.
func whole(page []state.Entry) []state.Entry {
	end := len(page)
	for end > 0 && page[end-1].Sequence == page[len(page)-1].Sequence {
		end--
	}
	return page[:end]
}

// errEnough ends a replay at its last message.
var errEnough = errors.New("enough")

// replay streams the log's events as they are, one per line, in order, and what else the
// log holds, wrapped: from the archive what the stream no longer has, then from the
// stream. An answer that ends properly is whole; one that cannot be is cut off, which
// every client sees.
func (e *Edge) replay(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	first, last, err := e.raw.Bounds(ctx)
	if err != nil {
		unreadable(w, err)
		return
	}
	from, to, err := span(r, last)
	if err != nil {
		web.BadQuery(w, err)
		return
	}
	if from < first && !e.raw.Archived() {
		web.Problem(w, http.StatusGone, "Trimmed", fmt.Sprintf("the log's stream begins at %d, and what came before is not read from an archive "+
			"here: ask from %d on", first, first))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if from > to {
		return // the log is empty
	}
	if err := copyLines(ctx, w, e.raw, from, to); err != nil {
		panic(http.ErrAbortHandler) //nolint:forbidigo // what net/http cuts an answer off by
	}
}

// A foreignMessage is the line of a message that is no event, and need not be a line.
type foreignMessage struct {
	Foreign foreign `json:"foreign"`
}

type foreign struct {
	Sequence uint64 `json:"sequence"`
	Subject  string `json:"subject"`
	Data     []byte `json:"data_base64"`
}

func copyLines(ctx context.Context, w http.ResponseWriter, raw *logread.Reader, from, to uint64) error {
	next := from
	err := raw.Run(ctx, from, tailPage, func(batch []logread.Message) (err error) {
		for _, m := range batch {
			if m.Sequence != next {
				return fmt.Errorf("%w: %d", logread.ErrMissing, next)
			}
			line := m.Data
			if m.Foreign() {
				if line, err = json.Marshal(foreignMessage{foreign{m.Sequence, m.Subject, m.Data}}); err != nil {
					return err
				}
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
			if next++; next > to {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// span is what a replay is asked for; the whole log where it is not said.
func span(r *http.Request, last uint64) (from, to uint64, err error) {
	from, err = sequence(r, "from", 1)
	if err != nil {
		return 0, 0, err
	}
	to, err = sequence(r, "to", last)
	if err != nil {
		return 0, 0, err
	}
	q := r.URL.Query()
	there := fmt.Sprintf("the log goes from 1 to %d", last)
	if last == 0 {
		there = "the log is empty"
	}
	switch {
	case q.Get("from") != "" && from > last:
		return 0, 0, fmt.Errorf("from is %d; %s", from, there)
	case q.Get("to") != "" && from > to:
		return 0, 0, fmt.Errorf("from is %d and to is %d; %s", from, to, there)
	}
	return from, min(to, last), nil
}

func sequence(r *http.Request, name string, otherwise uint64) (uint64, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s is %q; it is a sequence of the log, from 1", name, s)
	}
	return n, nil
}

func unreadable(w http.ResponseWriter, err error) {
	web.Unreadable(w, "The log or its index", err)
}

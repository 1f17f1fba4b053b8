package cli

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	shortestPart = 6  // of an id that stands for all of it, as audit has it, too
	wholeID      = 32 // an id of so many characters is whole
	mostNamed    = 5  // of ids that begin alike
)

// resolve finds the id that begins with what was given.
func (r resource) resolve(ctx context.Context, c *client, given string) (string, error) {
	if len(given) >= wholeID {
		return given, nil
	}
	n, l, err := r.find(ctx, c, given)
	if err != nil {
		return "", err
	}
	for _, path := range r.ids {
		if id := text(at(l.Items[n], path)); strings.HasPrefix(id, given) {
			return id, nil
		}
	}
	return r.name(l.Items[n]), nil
}

// find finds the one object that is called so, or whose id begins so.
func (r resource) find(ctx context.Context, c *client, given string) (int, list, error) {
	l, err := r.known(ctx, c)
	if err != nil {
		return 0, l, err
	}
	var found []int
	var ids []string
	for n, i := range l.Items {
		if r.name(i) == given {
			return n, l, nil
		}
		for _, path := range r.ids {
			if id := text(at(i, path)); len(given) >= shortestPart && strings.HasPrefix(id, given) {
				found, ids = append(found, n), append(ids, id)
				break
			}
		}
	}
	what := strings.TrimPrefix(strings.TrimPrefix(article(r.arg), "an "), "a ")
	switch {
	case len(found) == 1:
		return found[0], l, nil
	case len(found) > 1:
		more := ""
		if len(ids) > mostNamed {
			ids, more = ids[:mostNamed], ", …"
		}
		return 0, l, usagef("%q begins the id of %d %s; write more of it: %s%s", given, len(found), r.noun, strings.Join(ids, ", "), more)
	case r.ids != nil && len(given) < shortestPart:
		return 0, l, usagef("%q is too short for the id of %s: write at least its first %d characters; freshet %s list shows ids",
			given, article(r.arg), shortestPart, r.noun)
	}
	return 0, l, notFoundf("no %s %q in namespace %q; freshet %s list shows which there are", what, given, c.namespace, r.noun)
}

// eventID is the id of the event at a position of the log, or of the one whose id begins so.
func (c *client) eventID(ctx context.Context, name string) (string, error) {
	if len(name) >= wholeID {
		return name, nil
	}
	if position, err := strconv.ParseInt(name, 10, 64); err == nil && position > 0 {
		if id, err := c.eventAt(ctx, name, position); id != "" || err != nil {
			return id, err
		}
	}
	if len(name) < shortestPart {
		return name, nil // the suite says what there is
	}
	return c.eventByPart(ctx, name)
}

// eventByPart asks audit, which knows the beginnings of all ids.
func (c *client) eventByPart(ctx context.Context, part string) (string, error) {
	var a struct {
		Event string `json:"event"`
	}
	_, err := c.get(ctx, namePath("/v1/why/", part), nil, &a)
	var answer *answerError
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusNotFound, err == nil && !strings.HasPrefix(a.Event, part):
		return "", notFoundf("no event of namespace %q has an id that begins with %q", c.namespace, part)
	case err != nil:
		return "", err
	}
	return a.Event, nil
}

// eventAt is the id of the event at a position; empty where there is none.
func (c *client) eventAt(ctx context.Context, name string, position int64) (string, error) {
	var l list
	q := url.Values{"after": {strconv.FormatInt(position-1, 10)}, "limit": {"50"}}
	if _, err := c.get(ctx, "/v1/events", q, &l); err != nil {
		return "", err
	}
	var ids []string // decisions that were made together share a position
	for _, e := range l.Items {
		if text(e["sequence"]) == strconv.FormatInt(position, 10) {
			ids = append(ids, text(e["id"]))
		}
	}
	if len(ids) > 1 {
		return "", usagef("position %s holds %d events; name one by its id: %s", name, len(ids), strings.Join(ids, ", "))
	}
	return strings.Join(ids, ""), nil
}

// rippleID is the id of the ripple that begins so: that of its first event.
func (c *client) rippleID(ctx context.Context, given string) (string, error) {
	id, err := ripples.resolve(ctx, c, given)
	if exitCode(err) == exitNotFound && len(given) >= shortestPart { // it may be older than the list
		if id, older := c.eventByPart(ctx, given); older == nil {
			return id, nil
		}
	}
	return id, err
}

// A version is MODEL@VERSION, resolved.
type version struct {
	model  string
	number int64
}

func (v version) String() string { return v.model + "@" + strconv.FormatInt(v.number, 10) }

const versionForm = "write MODEL@3, MODEL@latest, or MODEL@ENVIRONMENT for the version that serves there"

// version reads how the command line names a version, everywhere.
func (c *client) version(ctx context.Context, given string) (version, error) {
	model, which, ok := strings.Cut(given, "@")
	if !ok || model == "" || which == "" {
		return version{}, usagef("%q names no version: %s", given, versionForm)
	}
	if n, err := strconv.ParseInt(which, 10, 64); err == nil {
		if n < 1 {
			return version{}, usagef("%q names no version: versions are numbered from 1", given)
		}
		return version{model, n}, nil
	}
	var m struct {
		Latest    int64 `json:"latest"`
		Champions []struct {
			Environment string `json:"environment"`
			Version     int64  `json:"version"`
		} `json:"champions"`
	}
	if _, err := c.get(ctx, "/v1/models/"+url.PathEscape(model), nil, &m); err != nil {
		return version{}, err
	}
	if which == "latest" && m.Latest > 0 {
		return version{model, m.Latest}, nil
	}
	serving := make([]string, len(m.Champions))
	for i, champion := range m.Champions {
		if champion.Environment == which {
			return version{model, champion.Version}, nil
		}
		serving[i] = champion.Environment
	}
	there := "nothing serves yet"
	if len(serving) > 0 {
		there = "it serves in " + strings.Join(serving, ", ")
	}
	return version{}, notFoundf("%s: no version of %s serves in %q; %s. %s", given, model, which, there, capital(versionForm))
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

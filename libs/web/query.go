package web

import (
	"fmt"
	"mime"
	"net/http"
	"strconv"
)

// DefaultNamespace is the one that a request means which names none.
const DefaultNamespace = "default"

// Namespace is the namespace that a request asks about: its query's, or DefaultNamespace.
func Namespace(r *http.Request) string {
	if n := r.URL.Query().Get("namespace"); n != "" {
		return n
	}
	return DefaultNamespace
}

// Limit is how many items a request asks for: its query's limit, or usual where it
// names none. A limit that is not from 1 to most is an error, which BadQuery answers.
func Limit(r *http.Request, usual, most int) (int, error) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("limit is %q; give a whole number from 1 to %d, or leave it out for %d", s, most, usual)
	}
	return n, nil
}

// BadQuery answers 400: a parameter of the query breaks a rule, which the error names.
func BadQuery(w http.ResponseWriter, err error) {
	Problem(w, http.StatusBadRequest, "Bad query", err.Error())
}

// NotFound answers 404; the detail names what is not there, and where it was looked for.
func NotFound(w http.ResponseWriter, format string, args ...any) {
	Problem(w, http.StatusNotFound, "Not found", fmt.Sprintf(format, args...))
}

// Unreadable answers 500: a service cannot read what it is to answer with. What begins
// a sentence, such as "The rollouts".
func Unreadable(w http.ResponseWriter, what string, err error) {
	Problem(w, http.StatusInternalServerError, what+" cannot be read", err.Error())
}

// SentJSON reports whether a request's body is declared to be JSON, which no form of
// another site can send. It answers 415 where it is not.
func SentJSON(w http.ResponseWriter, r *http.Request) bool {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		Problem(w, http.StatusUnsupportedMediaType, "Unsupported media type", "send application/json")
		return false
	}
	return true
}
